// Scratch that is measured and taken by the same code.
#include "base/arena.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace kl {
namespace {

/// What a worker of the tests takes.
struct Worker {
  char* text;      // [n]
  double* number;  // [1]
  Worker(Arena& arena, std::ptrdiff_t n) : text(arena.take<char>(n)), number(arena.take<double>(1)) {}
};

TEST(Arena, MeasuresWhatTheSameCodeTakes) {
  const auto lay_out = [](Arena& arena) {
    const ArenaScope scope(arena);
    arena.take<float>(3);
    const ArenaArray<Worker> workers(arena, 2, 65);
    {
      const ArenaScope inner(arena), again(arena);
      arena.take<std::int64_t>(100);
    }
    return arena.take<char>(1);
  };
  Arena measure;
  EXPECT_EQ(lay_out(measure), nullptr);
  EXPECT_EQ(measure.peak(), 64u + 64u + 2 * (128u + 64u) + 832u) << "whole cache lines, the largest of what is in turn";
  Arena arena(measure.peak());
  EXPECT_NE(lay_out(arena), nullptr);
  EXPECT_EQ(arena.peak(), measure.peak());
}

TEST(Arena, HandsOutLinesOfTheirOwnAndTakesThemBack) {
  Arena arena(1024);
  float* first = nullptr;
  {
    const ArenaScope scope(arena);
    first = arena.take<float>(1);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0u);
    EXPECT_EQ(reinterpret_cast<std::byte*>(arena.take<double>(1)) - reinterpret_cast<std::byte*>(first), 64);
  }
  EXPECT_EQ(arena.take<float>(1), first);
}

TEST(Arena, ArraysHoldObjectsWithBuffersOfTheirOwn) {
  Arena arena(4096);
  const ArenaArray<Worker> workers(arena, 3, 10);
  for (int i = 0; i < 3; ++i) *workers[i].number = i;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*workers[i].number, i);
}

TEST(ArenaDeathTest, PastTheEndIsOurBug) {
  EXPECT_DEATH(
      {
        Arena arena(64);
        arena.take<float>(17);
      },
      "");
}

}  // namespace
}  // namespace kl
