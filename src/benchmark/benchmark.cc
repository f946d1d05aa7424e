#include "kl/benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "base/memory_info.h"
#include "kl/error.h"

namespace kl {
namespace {

constexpr int kRealTokens = 256;  // of a faked depth; also the depth of batches
constexpr int kWarmUpTokens = 64, kWarmUpSteps = 8;

/// Attaches a profile for the time of a measurement.
class ProfileScope {
 public:
  ProfileScope(Model& model, Profile* profile) : model_(model) { model.set_profile(profile); }
  ~ProfileScope() { model_.set_profile(nullptr); }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  Model& model_;
};

/// Reports how far a run is and throws logits away.
class Listener : public ForwardObserver {
 public:
  explicit Listener(std::function<void(double)> on_part) : on_part_(std::move(on_part)) {}
  void on_logits(int, std::int64_t, std::span<const float>) override {}
  bool on_progress(std::int64_t done, std::int64_t total) override {
    on_part_(static_cast<double>(done) / static_cast<double>(total));
    return true;
  }

 private:
  std::function<void(double)> on_part_;
};

class Bench {
 public:
  Bench(Model& model, const MachineLimits& limits, const BenchOptions& options)
      : model_(model), limits_(limits), options_(options) {}

  std::size_t run() {
    model_.bring_into_memory(options_.progress);  // not while a test is timed
    const auto asks_for = [&](int batch) { return std::ranges::count(options_.batches, batch) > 0; };
    for (const int n : options_.prompts) time_prompt(n, 0, make_states(1, 0));
    for (const int depth : options_.depths) {
      const std::vector<SequenceState> states = make_states(1, depth);
      if (asks_for(1)) time_steps(depth, states);
      if (depth > 0 && options_.prompt_at_depth > 0) time_prompt(options_.prompt_at_depth, depth, states);
    }
    const std::size_t resident = resident_bytes();
    for (const int batch : options_.batches)
      if (batch > 1 && options_.generate > 0) time_steps(kRealTokens, make_states(batch, kRealTokens));
    return resident;
  }

 private:
  using States = std::vector<SequenceState>;

  /// Sequences that have read `depth` tokens, or look as if they had.
  States make_states(int count, int depth) {
    States states(static_cast<std::size_t>(count));
    for (SequenceState& state : states) state = model_.make_cache();
    const int real = options_.real_depth ? depth : std::min(depth, kRealTokens);
    if (real == 0) return states;
    test_ = "filling the cache";
    done_ = 0;
    total_ = 1;
    feed(states, real, WantLogits::kNone);
    for (SequenceState& state : states) state.repeat_to(depth);
    return states;
  }

  /// Feeds every sequence `count` random tokens in one call.
  void feed(States& states, int count, WantLogits want) {
    std::vector<std::vector<Token>> tokens(states.size(), std::vector<Token>(static_cast<std::size_t>(count)));
    std::vector<SequenceInput> batch;
    std::uniform_int_distribution<Token> any(0, model_.args().vocab_size - 1);
    for (std::size_t s = 0; s < states.size(); ++s) {
      for (Token& token : tokens[s]) token = any(random_);
      batch.push_back({&states[s], tokens[s], want});
    }
    Listener listener([this](double part) { report(part); });
    model_.forward(batch, listener);
  }

  void report(double part_of_call) const {
    const auto thousandths = [](double calls) { return std::llround(1000 * calls); };
    if (options_.progress) options_.progress(test_, thousandths(done_ + part_of_call), thousandths(total_));
  }

  static std::string at(int depth) { return depth > 0 ? " @ d" + std::to_string(depth) : ""; }

  void time_prompt(int tokens, int depth, const States& start) {
    const auto once = [&](States& states) { feed(states, tokens, WantLogits::kLast); };
    const auto warm_up = [&](States& states) { feed(states, std::min(tokens, kWarmUpTokens), WantLogits::kLast); };
    measure("pp" + std::to_string(tokens) + at(depth), tokens, 1, start, warm_up, once);
  }

  void time_steps(int depth, const States& start) {
    const int n = options_.generate;
    if (n == 0) return;
    const auto step = [&](int count) {
      return [this, count](States& states) {
        for (int i = 0; i < count; ++i, ++done_) feed(states, 1, WantLogits::kLast);
      };
    };
    const auto B = static_cast<int>(start.size());
    const std::string together = B > 1 ? " x" + std::to_string(B) : "";
    measure("tg" + std::to_string(n) + together + at(depth), std::int64_t{n} * B, n, start,
            step(std::min(n, kWarmUpSteps)), step(n));
  }

  /// Times `once` from copies of `start`, `options_.repeats` times.  It makes `calls` calls of forward().
  template <class WarmUp, class Once>
  void measure(const std::string& test, std::int64_t tokens, int calls, const States& start, WarmUp&& warm_up,
               Once&& once) {
    test_ = test;
    done_ = 0;
    total_ = static_cast<double>(calls) * (options_.breakdown ? 2 : 1) * options_.repeats + kWarmUpSteps;
    States states = start;
    warm_up(states);

    BenchResult result{.test = test, .tokens = tokens};
    const auto seconds_of_all = [&](Profile& profile, std::vector<double>* runs) {
      const ProfileScope scope(model_, &profile);
      double sum = 0;
      for (int i = 0; i < options_.repeats; ++i) {
        states = start;
        done_ = kWarmUpSteps + calls * (i + (runs == nullptr ? options_.repeats : 0));
        const auto begin = std::chrono::steady_clock::now();
        once(states);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (runs != nullptr) runs->push_back(static_cast<double>(tokens) / seconds);
        sum += seconds;
      }
      return sum;
    };
    seconds_of_all(result.profile, &result.runs);
    result.limit = 1 / result.per_token(limits_.seconds(result.profile));
    if (options_.breakdown) {
      Profile regions{.regions_only = true};
      result.scheduling = result.per_token(seconds_of_all(regions, nullptr));
    }
    if (options_.on_result) options_.on_result(result);
  }

  Model& model_;
  const MachineLimits& limits_;
  const BenchOptions& options_;
  std::mt19937 random_{1};
  std::string test_;  // running now
  double done_ = 0, total_ = 1;
};

}  // namespace

double BenchResult::median() const {
  std::vector<double> sorted = runs;
  std::ranges::sort(sorted);
  const std::size_t n = sorted.size();
  return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double BenchResult::best() const { return *std::ranges::max_element(runs); }

double BenchResult::per_token(double counted) const {
  return counted / (static_cast<double>(tokens) * static_cast<double>(runs.size()));
}

std::size_t run_benchmark(Model& model, const MachineLimits& limits, const BenchOptions& options) {
  const auto require = [](bool holds, const char* problem) {
    if (!holds) throw Error(ErrorCode::kInvalidArgument, problem);
  };
  const auto all_from = [](const std::vector<int>& v, int low) {
    return std::ranges::all_of(v, [&](int n) { return n >= low; });
  };
  require(all_from(options.prompts, 1), "prompts: expected at least one token, got none");
  require(all_from(options.depths, 0), "depths: expected 0 or more, got less");
  require(all_from(options.batches, 1), "batches: expected at least one sequence, got none");
  require(options.generate >= 0 && options.prompt_at_depth >= 0, "tokens: expected 0 or more, got less");
  require(options.repeats >= 1, "repeats: expected at least one, got none");
  return Bench(model, limits, options).run();
}

}  // namespace kl
