#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kl/options.h"

namespace kl::cli {

/// A progress bar on standard error, for a person only: nothing is shown unless standard error is a terminal and the
/// work looks like taking more than two seconds.  It wipes itself away when destroyed.
class ProgressBar {
 public:
  /// `what` is shown before the bar: "reading prompt".
  explicit ProgressBar(std::string what);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

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

/// What a long call reports to: a bar for each thing that it does in turn.  The call ends with Interrupted once the
/// person wants that.
class ProgressBars {
 public:
  /// `path`: a file or folder that is worked on, shown behind what is done; the work's unit is bytes then.
  explicit ProgressBars(const std::string& path = {});

  /// Valid as long as the object.
  Progress callback();
  void hide() { bar_.reset(); }

 private:
  void update(std::string_view what, std::int64_t done, std::int64_t total);

  std::string path_;
  std::string what_;  // of bar_
  std::optional<ProgressBar> bar_;
};

}  // namespace kl::cli
