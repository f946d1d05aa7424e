#pragma once
#include <cstddef>

namespace kl::grammar {

/// What one compilation may still cost.  Counted in steps of the algorithms and not in seconds, so that a schema is
/// accepted or refused alike on every machine.
class Budget {
 public:
  /// Thrown when it is used up; whoever knows the place in the schema makes an Error of it.
  struct Exceeded {};

  explicit Budget(std::size_t states) : states_(states), steps_(kStepsPerState * states) {}

  void spend_states(std::size_t n) { spend(states_, n); }
  void spend_steps(std::size_t n) { spend(steps_, n); }

 private:
  static constexpr std::size_t kStepsPerState = 64;

  static void spend(std::size_t& left, std::size_t n) {
    if (n > left) throw Exceeded{};
    left -= n;
  }

  std::size_t states_, steps_;
};

}  // namespace kl::grammar
