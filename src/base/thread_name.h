#pragma once
#include <pthread.h>

namespace kl {

/// What `top -H` and debuggers call this thread; at most 15 letters.
inline void name_this_thread(const char* name) noexcept { ::pthread_setname_np(::pthread_self(), name); }

}  // namespace kl
