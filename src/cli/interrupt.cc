#include "cli/interrupt.h"

#include <unistd.h>

#include <csignal>

#include "base/output_file.h"
#include "cli/exit_status.h"

namespace kl::cli {
namespace {

// Lock-free atomics are the only objects a signal handler may share with the program.
std::atomic<bool> caught{false};
std::atomic<bool> catches_interrupt{false};
std::atomic<bool> catches_termination{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int signal) {
  const bool only_sets_flag = signal == SIGINT ? catches_interrupt.load() : catches_termination.load();
  if (only_sets_flag && !caught.exchange(true)) return;
  remove_unfinished_files();
  ::_exit(kExitInterrupted);
}

}  // namespace

void exit_on_interrupt() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = on_signal;  // without SA_RESTART: a read that waits for a line returns
    ::sigaction(signal, &action, nullptr);
  }
}

std::atomic<bool>& catch_interrupts() {
  catches_interrupt = true;
  return caught;
}

void catch_termination() { catches_termination = true; }

bool interrupted() { return caught.load(); }

}  // namespace kl::cli
