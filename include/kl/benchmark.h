#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kl/arithmetic.h"
#include "kl/model.h"
#include "kl/options.h"
#include "kl/profile.h"

namespace kl {

/// What this machine can do at most with a number of threads.
struct MachineLimits {
  /// How fast independent copies of one instruction run on registers.
  struct Peak {
    std::string isa;          ///< how the kernel tables that use it begin: "avx2", "avx512"
    std::string instruction;  ///< "vpdpbusd, 512 bit"
    Arithmetic arithmetic = Arithmetic::kFma;
    double ops_per_second = 0;  ///< all threads; a multiply-add is two
  };

  int threads = 0;
  std::string isa;                   ///< the kernel table the limits are for
  std::size_t memory_read = 0;       ///< bytes the bandwidth was measured over
  double read_bytes_per_second = 0;  ///< all threads
  std::vector<Peak> peaks;           ///< every instruction this CPU has

  /// The best peak a kernel of table `isa` can reach (of any table for "reference"); 0 if it has no such instruction.
  double peak(Arithmetic kind) const;

  /// Least time: max(bytes / bandwidth, operations / peak) for one part, and the sum over its parts for a profile.
  double seconds(const Cost& cost) const;
  double seconds(const Profile& profile) const;
};

/// Measures the limits of `threads` threads for the kernel table `isa`; takes about two seconds and up to 2 GiB, less
/// where less than twice that is free.  Throws Error(kOutOfMemory) if 64 MiB cannot be had.
MachineLimits measure_limits(int threads, std::string_view isa);

/// One line of the table: the same work several times.
struct BenchResult {
  std::string test;                  ///< as llama-bench names it: "pp512", "tg64 @ d4096", "tg64 x4 @ d256"
  std::int64_t tokens = 0;           ///< of one run, all sequences together
  std::vector<double> runs;          ///< tokens per second
  Profile profile;                   ///< of all runs together
  double limit = 0;                  ///< tokens per second if every part ran at the machine's limit
  std::optional<double> scheduling;  ///< seconds per token with kernels that do nothing (BenchOptions::breakdown)

  double median() const;  ///< of the runs
  double best() const;    ///< of the runs
  /// The median beside the limit.
  double percent_of_limit() const { return 100 * median() / limit; }
  /// The share of one token in what was counted over all runs.
  double per_token(double counted) const;
};

/// What to time.
struct BenchOptions {
  std::vector<int> prompts = {512};  ///< prefills of this many tokens from an empty state; logits of the last only
  int generate = 64;                 ///< single-token steps of a run; 0 = none
  std::vector<int> depths = {0};     ///< tokens in the state before the steps begin
  std::vector<int> batches = {1};    ///< sequences stepping together: 1 at each depth, more at a depth of 256
  int prompt_at_depth = 0;           ///< also a prefill of this many tokens at each depth > 0; 0 = none
  int repeats = 3;
  bool real_depth = false;  ///< feed all tokens of a depth, instead of 256 whose latents are then repeated
  bool breakdown = false;   ///< also measure BenchResult::scheduling

  std::function<void(const BenchResult&)> on_result;  ///< called as results come
  Progress progress;                                  ///< of each test in turn; called often
};

/// Runs the tests in this order: prompts; at each depth steps and prefill; batches.  Tokens are random.
/// Returns the resident memory of the process in bytes after the tests of single sequences.
/// Throws what Model::forward throws; Error(kInvalidArgument) for numbers below those above.
std::size_t run_benchmark(Model& model, const MachineLimits& limits, const BenchOptions& options);

}  // namespace kl
