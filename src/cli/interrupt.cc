#include "cli/interrupt.h"

#include <unistd.h>
#include <csignal>

#include "cli/exit_status.h"

namespace kl::cli {
namespace {

// Lock-free atomics are the only objects a signal handler may share with the program.
std::atomic<bool> caught{false};
std::atomic<bool> only_sets_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_interrupt(int) {
  if (!only_sets_flag.load() || caught.exchange(true)) ::_exit(kExitInterrupted);
}

}  // namespace

void exit_on_interrupt() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a read that waits for a line returns
  ::sigaction(SIGINT, &action, nullptr);
}

std::atomic<bool>& catch_interrupts() {
  only_sets_flag = true;
  return caught;
}

bool interrupted() { return caught.load(); }

}  // namespace kl::cli
