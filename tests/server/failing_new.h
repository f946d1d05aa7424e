#pragma once
#include <atomic>

namespace kl {

/// The next allocation of 8 KiB or more throws std::bad_alloc, and this is false again.  Where this header is linked,
/// operator new is replaced.
extern std::atomic<bool> next_large_allocation_fails;

}  // namespace kl
