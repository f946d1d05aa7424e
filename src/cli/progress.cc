#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "base/printable.h"
#include "cli/interrupt.h"
#include "cli/notice.h"
#include "cli/quantities.h"

namespace kl::cli {
namespace {

constexpr double kWorthShowing = 2.0;  // seconds the whole work must seem to take
constexpr double kFirstLook = 0.3;     // seconds before that can be judged
constexpr double kRedraw = 0.1;

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string duration(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
}

}  // namespace

ProgressBar::ProgressBar(std::string what)
    : what_(std::move(what)), on_terminal_(::isatty(STDERR_FILENO) == 1), start_(Clock::now()), last_drawn_(start_) {}

ProgressBar::~ProgressBar() {
  if (shown_) notice("\r\033[K");
}

void ProgressBar::update(double done, double total) { draw(done, total, {}); }

void ProgressBar::update_bytes(std::int64_t done, std::int64_t total) {
  if (!on_terminal_) return;
  draw(static_cast<double>(done), static_cast<double>(total),
       fmt::format("{} of {}  ", bytes_text(done), bytes_text(total)));
}

void ProgressBar::draw(double done, double total, const std::string& amount) {
  if (!on_terminal_ || done <= 0 || total <= 0) return;
  const Clock::time_point now = Clock::now();
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double since_drawn = std::chrono::duration<double>(now - last_drawn_).count();
  const double fraction = std::min(done / total, 1.0);
  if (!shown_ && (elapsed < kFirstLook || elapsed / fraction < kWorthShowing)) return;
  if (shown_ && since_drawn < kRedraw) return;
  last_drawn_ = now;
  shown_ = true;

  const std::string left = amount + duration(elapsed / fraction - elapsed);
  const int width = std::clamp(terminal_columns() - static_cast<int>(what_.size() + left.size()) - 17, 4, 40);
  const int filled = static_cast<int>(fraction * width);
  notice(fmt::format("\r{} [{:=<{}}{: <{}}] {:3.0f} %  {} left\033[K", what_, "", filled, "", width - filled,
                     100 * fraction, left));
}

ProgressBars::ProgressBars(const std::string& path) : path_(printable(path)) {}

Progress ProgressBars::callback() {
  return [this](std::string_view what, std::int64_t done, std::int64_t total) { update(what, done, total); };
}

void ProgressBars::update(std::string_view what, std::int64_t done, std::int64_t total) {
  if (interrupted()) throw Interrupted{};
  if (!bar_ || what != what_) bar_.emplace(path_.empty() ? std::string(what) : fmt::format("{} {}", what, path_));
  what_ = what;
  if (path_.empty()) {
    bar_->update(static_cast<double>(done), static_cast<double>(total));
  } else {
    bar_->update_bytes(done, total);
  }
}

}  // namespace kl::cli
