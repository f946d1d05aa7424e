#include "generation/speculation.h"

#include <algorithm>

namespace kl {
namespace {

constexpr double kMemory = 0.98;  // what a pass weighs when the next one is over: some 50 count

// A guess for one more row, as part of a pass: weights that come from RAM are shared, experts only in part.  It weighs
// as much as kGuessWeight squared rows, so it is tried again when the last try is long past.
constexpr double kGuess = 0.15, kGuessWeight = 4;

// A pass that took longer than so many times what was expected tells of the machine, not of the rows.
constexpr double kOutlier = 3;

constexpr double kFirstRate = 0.5, kRateStep = 1.0 / 16;
constexpr double kLeastGain = 1.03;  // a draft must promise more than noise

}  // namespace

double PassCost::slope() const {
  const double guess = kGuess * mean_seconds_ / (1 + kGuess * (mean_rows_ - 1));
  return std::max(0.0, (rows_seconds_ + kGuessWeight * guess) / (rows_rows_ + kGuessWeight));
}

double PassCost::seconds(int rows) const {
  // Never less than a part of what was seen: a line through noise may dip below zero.
  return std::max(mean_seconds_ / 16, mean_seconds_ + slope() * (rows - mean_rows_));
}

void PassCost::observe(int rows, double seconds) {
  if (weight_ > 0) {
    seconds = std::min(seconds, kOutlier * this->seconds(rows));
  } else {
    mean_rows_ = rows;
    mean_seconds_ = seconds;
  }
  weight_ = kMemory * weight_ + 1;
  const double off_rows = rows - mean_rows_, off_seconds = seconds - mean_seconds_;
  mean_rows_ += off_rows / weight_;
  mean_seconds_ += off_seconds / weight_;
  rows_rows_ = kMemory * rows_rows_ + off_rows * (rows - mean_rows_);
  rows_seconds_ = kMemory * rows_seconds_ + off_rows * (seconds - mean_seconds_);
}

Speculation::Speculation(int most) : most_(most) { rates_.fill(kFirstRate); }

double& Speculation::rate_of(int match) { return rates_[match < 3 ? 0 : match < 5 ? 1 : match < 10 ? 2 : 3]; }

/// The number of drafted tokens, 0 among them, that gives most tokens per second: n of them give 1 + rate + ... +
/// rate^n.
int Speculation::worth(double rate, const PassCost& cost, int rows) const {
  int best = 0;
  double most = rows / cost.seconds(rows) * kLeastGain, tokens = rows, likely = 1;
  for (int n = 1; n <= static_cast<int>(draft_.tokens.size()); ++n) {
    tokens += likely *= rate;
    const double speed = tokens / cost.seconds(rows + n);
    if (speed <= most) continue;
    most = speed;
    best = n;
  }
  return best;
}

std::span<const Token> Speculation::propose(const PassCost& cost, std::int64_t room, int rows) {
  draft_ = drafter_.draft(static_cast<int>(std::clamp<std::int64_t>(room, 0, most_)));
  fed_ = draft_.tokens.empty() ? 0 : worth(rate_of(draft_.match), cost, rows);
  return std::span(draft_.tokens).first(static_cast<std::size_t>(fed_));
}

void Speculation::judge(std::span<const Token> drawn) {
  // Drafts that did not pay are judged by their first token.
  const auto judged = std::min<std::size_t>(draft_.tokens.size(), static_cast<std::size_t>(std::max(fed_, 1)));
  for (std::size_t i = 0; i < std::min(judged, drawn.size()); ++i) {
    double& rate = rate_of(draft_.match);
    rate += ((drawn[i] == draft_.tokens[i] ? 1 : 0) - rate) * kRateStep;
  }
  drafted_ += fed_;
  accepted_ += std::clamp<std::int64_t>(std::ssize(drawn) - 1, 0, fed_);
  drafter_.append(drawn);
  draft_ = {};
  fed_ = 0;
}

}  // namespace kl
