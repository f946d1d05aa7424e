#pragma once
// What `kl bench` prints; docs/benchmarks.md explains how to read it.
#include <string>
#include <vector>

#include "kl/benchmark.h"

namespace kl::cli {

struct BenchReport {
  std::string model;
  MachineLimits limits;
  double load_seconds = 0;
  std::size_t file_bytes = 0;
  std::size_t resident_bytes = 0;
  std::vector<BenchResult> results;
};

/// The limits and the head of the table, one row of it, and what stands below.
std::string markdown_head(const BenchReport& report);
std::string markdown_row(const BenchResult& result);
std::string markdown_tail(const BenchReport& report);

/// The parts of one test.
std::string markdown_breakdown(const BenchResult& result, const MachineLimits& limits);

/// All of it as one object on one line, or as one line per test.
std::string bench_json(const BenchReport& report);
std::string bench_csv(const BenchReport& report);

}  // namespace kl::cli
