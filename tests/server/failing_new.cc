#include "tests/server/failing_new.h"

#include <cstddef>
#include <cstdlib>
#include <new>

std::atomic<bool> kl::next_large_allocation_fails{false};

void* operator new(std::size_t bytes) {
  constexpr std::size_t kLarge = 8 << 10;
  if (bytes >= kLarge && kl::next_large_allocation_fails.exchange(false)) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
