#pragma once
// Running a test on every instruction set of this machine.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "kernels/select.h"
#include "tests/support/close.h"

namespace kl::test {

/// Calls f with every table this CPU can run, best first, "reference" last.
template <class F>
void for_each_table(F f) {
  for (const Kernels* table : available_kernels()) {
    SCOPED_TRACE(table->isa);
    f(*table);
  }
}

/// The tables that must agree with `reference` and, bit for bit, with each other.
inline std::vector<const Kernels*> fast_tables() {
  std::vector<const Kernels*> tables;
  for (const Kernels* table : available_kernels()) {
    if (table != &reference::kernels) tables.push_back(table);
  }
  return tables;
}

/// Runs a computation on every table: fast ones must be within `budget` of the reference and have the same bits.
inline void expect_tables_agree(const Budget& budget, const std::function<std::vector<float>(const Kernels&)>& run) {
  const std::vector<float> expected = run(reference::kernels);
  std::vector<float> first;
  for (const Kernels* table : fast_tables()) {
    const std::vector<float> actual = run(*table);
    EXPECT_EQ(why_not_close(actual, expected, budget), "") << table->isa << " against reference";
    if (first.empty()) first = actual;
    EXPECT_EQ(why_not_same_bits(actual, first), "") << table->isa << " against " << fast_tables().front()->isa;
  }
}

}  // namespace kl::test
