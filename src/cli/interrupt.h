#pragma once
#include <atomic>

namespace kl::cli {

/// Thrown by commands that leave nothing behind when the person presses Ctrl-C; main() turns it into status 130.
struct Interrupted {};

/// From the start of the program Ctrl-C (SIGINT), SIGTERM and SIGHUP end it at once with status 130, and unfinished files
/// disappear.  A signal that the parent process had ignored (nohup) stays so.
void exit_on_interrupt();

/// From here on the first Ctrl-C only sets the returned flag, so that a command can stop in good order; a second one
/// while the flag is still set ends the program.  The command clears the flag when it has dealt with it.
std::atomic<bool>& catch_interrupts();

/// From here on SIGTERM and SIGHUP set the flag too.  Not for a command that goes on after Ctrl-C.
void catch_termination();

/// The same flag, for code deep inside a command.
bool interrupted();

}  // namespace kl::cli
