#include "kernels/select.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <limits>
#include <vector>

#include "kernels/peaks.h"
#include "kl/error.h"

namespace kl {
namespace {

// Best first, but for what bf16_dot_is_faster() says.
constexpr std::array kCompiledIn = {&avx512::kernels_bf16, &avx512::kernels, &avx2::kernels, &reference::kernels};

/// Nanoseconds an operation of a peak loop takes: the best of a few tries of about 10 microseconds.
double nanoseconds_per_op(const PeakLoop& loop) {
  using Clock = std::chrono::steady_clock;
  constexpr int kTries = 10, kRounds = 2000;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTries; ++i) {
    const Clock::time_point start = Clock::now();
    loop.run(kRounds);
    best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - start).count());
  }
  return best / (kRounds * loop.ops_per_round);
}

/// vdpbf16ps takes half as long as the FMA it stands for on some CPUs, and twice as long on others.
bool bf16_dot_is_faster() {
  const auto loop = [](Arithmetic kind) -> const PeakLoop& {
    return *std::find_if(std::begin(avx512::peaks), std::end(avx512::peaks),
                         [kind](const PeakLoop& l) { return l.arithmetic == kind; });
  };
  return nanoseconds_per_op(loop(Arithmetic::kBf16Dot)) < 0.9 * nanoseconds_per_op(loop(Arithmetic::kFma));
}

/// Does this CPU's own prefetcher stop at the end of 4 KiB, also where pages are larger?  One token then streams 4-bit
/// weights at 60 % of what memory gives, and at 80 to 90 % if the kernel asks for them itself.  Zen 4 needs no help.
bool wants_far_ahead() {
  __builtin_cpu_init();
  return __builtin_cpu_is("intel");
}

/// The tables this CPU runs, best first.
std::vector<const Kernels*> usable_kernels() {
  std::vector<const Kernels*> tables;
  for (const Kernels* table : kCompiledIn) {
    if (table->supported()) tables.push_back(table);
  }
  if (tables.front() == &avx512::kernels_bf16 && !bf16_dot_is_faster()) std::swap(tables[0], tables[1]);
  static std::deque<Kernels> changed;  // copies of tables in which a function stands in for another
  for (const Kernels*& table : tables) {
    if (table->matmul_far_ahead == nullptr || !wants_far_ahead()) continue;
    changed.push_back(*table);
    changed.back().matmul = table->matmul_far_ahead;
    table = &changed.back();
  }
  return tables;
}

/// "avx512, avx2, reference"
std::string names_of(std::span<const Kernels* const> tables) {
  std::string names;
  for (const Kernels* table : tables) {
    if (!names.empty()) names += ", ";
    names += table->isa;
  }
  return names;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> available = usable_kernels();
  return available;
}

const Kernels& select_kernels(std::string_view isa) {
  const char* subject = "isa";
  if (isa.empty()) {
    const char* forced = std::getenv("KL_ISA");
    if (forced == nullptr || *forced == '\0') return *available_kernels().front();
    isa = forced;
    subject = "KL_ISA";
  }
  for (const Kernels* table : available_kernels()) {
    if (isa == table->isa) return *table;
  }
  throw Error(ErrorCode::kInvalidArgument, std::string(subject) +
                                               ": expected one of the instruction sets usable here (" +
                                               names_of(available_kernels()) + "), got '" + std::string(isa) + "'");
}

}  // namespace kl
