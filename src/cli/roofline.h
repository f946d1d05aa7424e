#pragma once
#include <string>

#include "cli/bench_report.h"

namespace kl::cli {

/// An SVG picture: operations per second over operations per byte, both logarithmic.  The roof is what the machine can
/// do: its read bandwidth on the left, the peak of each kind of arithmetic above.  A filled dot per test; where the
/// breakdown was measured a ring per part of it.
std::string roofline_svg(const BenchReport& report);

}  // namespace kl::cli
