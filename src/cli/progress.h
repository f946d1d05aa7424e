#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace kl::cli {

/// A progress bar on standard error, for a person only: nothing is shown unless standard error is a terminal and the
/// work looks like taking more than two seconds.  It wipes itself away when destroyed.
class Progress {
 public:
  /// `what` is shown before the bar: "reading prompt".
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Tells how much is done, in any unit.  Cheap: draws at most ten times a second.
  void update(double done, double total);

  /// The same for bytes, which are shown: "44.2 of 98.2 GB".
  void update_bytes(std::int64_t done, std::int64_t total);

 private:
  void draw(double done, double total, const std::string& amount);

  using Clock = std::chrono::steady_clock;

  std::string what_;
  bool on_terminal_;
  bool shown_ = false;
  Clock::time_point start_;
  Clock::time_point last_drawn_;
};

}  // namespace kl::cli
