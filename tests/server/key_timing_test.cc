// Whether the time of comparing a key says how much of a guess was right.  KL_KEY_SAMPLES=1000000 for a long look.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/access.h"

namespace kl {
namespace {

using Compare = bool (*)(std::string_view, std::string_view);

/// The way keys must not be compared.
bool equal_until_first_difference(std::string_view a, std::string_view b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

struct Moments {
  double mean, variance_of_mean;
};

/// Of the fastest nine tenths: the rest is what the machine did besides.
Moments moments(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  samples.resize(samples.size() * 9 / 10);
  const auto n = static_cast<double>(samples.size());
  double sum = 0, squares = 0;
  for (const double x : samples) sum += x;
  for (const double x : samples) squares += (x - sum / n) * (x - sum / n);
  return {sum / n, squares / (n - 1) / n};
}

/// Welch's t of the times of two kinds of guesses, wrong in the first letter and wrong in the last, in random order and
/// from the same memory.  Beyond 4.5 they are told apart.
/// Source    Reparaz, Balasch, Verbauwhede: Dude, is my code constant time?  DATE 2017.
double t_of(Compare compare, std::size_t samples) {
  constexpr std::size_t kLength = 64, kAtOnce = 16;  // a digest; one comparison is shorter than a tick of the clock
  const std::string right(kLength, 'a');
  std::array<std::string, 2> guesses = {right, right};
  guesses[0].front() = guesses[1].back() = 'b';
  std::string guess = right;
  std::array<std::vector<double>, 2> times;
  std::mt19937 dice(1);
  volatile bool sink = false;
  for (std::size_t i = 0; i < samples; ++i) {
    const unsigned kind = dice() & 1;
    std::copy(guesses[kind].begin(), guesses[kind].end(), guess.begin());
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t j = 0; j < kAtOnce; ++j) sink = compare(guess, right);
    const auto end = std::chrono::steady_clock::now();
    times[kind].push_back(std::chrono::duration<double, std::nano>(end - start).count());
  }
  static_cast<void>(sink);
  const Moments first = moments(std::move(times[0])), last = moments(std::move(times[1]));
  return (last.mean - first.mean) / std::sqrt(first.variance_of_mean + last.variance_of_mean);
}

TEST(Access, ComparingTakesAsLongHoweverNearAGuessIs) {
  constexpr double kToldApart = 4.5;
  const char* asked = std::getenv("KL_KEY_SAMPLES");
  const std::size_t samples = asked != nullptr ? std::stoull(asked) : 100'000;
  const double t = t_of(equal_in_constant_time, samples), control = t_of(equal_until_first_difference, samples);
  RecordProperty("t", std::to_string(t));
  if (asked != nullptr)
    std::printf("%zu samples: t = %.2f; of a comparison that ends early %.2f\n", samples, t, control);
  EXPECT_LT(std::abs(t), kToldApart);
  EXPECT_GT(control, kToldApart) << "the test sees nothing";
}

}  // namespace
}  // namespace kl
