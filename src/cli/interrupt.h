#pragma once
#include <atomic>

namespace kl::cli {

/// Thrown by commands that leave nothing behind when the person presses Ctrl-C; main() turns it into status 130.
struct Interrupted {};

/// From the start of the program Ctrl-C ends it at once with status 130.
void exit_on_interrupt();

/// From here on the first Ctrl-C only sets the returned flag, so that a command can stop in good order; a second one
/// while the flag is still set ends the program.  The command clears the flag when it has dealt with it.
std::atomic<bool>& catch_interrupts();

/// The same flag, for code deep inside a command.
bool interrupted();

}  // namespace kl::cli
