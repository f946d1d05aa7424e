#pragma once
// Who takes how long, and what they had to do: see kl/profile.h.
#include <chrono>
#include <utility>

#include "kernels/kernels.h"
#include "kl/profile.h"

namespace kl {

/// What lies in memory of a matrix, padding between its rows left out.
constexpr double bytes_of(const WeightMatrix& w) {
  if (w.type == DType::kPacked) return static_cast<double>(w.format.matrix_bytes(w.N, w.K));
  return static_cast<double>(w.N) * static_cast<double>(w.K) * static_cast<double>(size_of(w.type));
}

/// The instruction the kernels compute this product with.
constexpr Arithmetic arithmetic_of(const MatmulArgs& a) {
  return a.w.type == DType::kPacked && a.q != nullptr ? Arithmetic::kInt8 : Arithmetic::kFma;
}

/// Attributes the time of one call to parts: at every moment exactly one part is running, kRest unless told otherwise.
/// Used by the thread that owns the pool, between regions.
class Profiler {
 public:
  /// Adds to `profile`, which must outlive it, from now on.
  explicit Profiler(Profile& profile) : profile_(profile), since_(Clock::now()) {}
  ~Profiler() { switch_to(ModelPart::kRest); }
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Profile::regions_only.
  bool regions_only() const noexcept { return profile_.regions_only; }

  /// Returns the part that ran until now.
  ModelPart switch_to(ModelPart part) noexcept {
    const Clock::time_point now = Clock::now();
    profile_[part_].seconds += std::chrono::duration<double>(now - std::exchange(since_, now)).count();
    return std::exchange(part_, part);
  }

  /// Adds to what the running part had to read and write.
  void count_bytes(double bytes) noexcept { profile_[part_].bytes += bytes; }
  /// Adds to what the running part had to compute.
  void count_ops(Arithmetic kind, double ops) noexcept { profile_[part_].ops[static_cast<std::size_t>(kind)] += ops; }
  /// y = W x for M vectors x: W read once.
  void count_product(const WeightMatrix& w, std::ptrdiff_t M, Arithmetic kind = Arithmetic::kFma) noexcept {
    count_bytes(bytes_of(w));
    count_ops(kind, 2 * static_cast<double>(w.N) * static_cast<double>(w.K) * static_cast<double>(M));
  }

 private:
  using Clock = std::chrono::steady_clock;

  Profile& profile_;
  ModelPart part_ = ModelPart::kRest;
  Clock::time_point since_;
};

/// Until the end of the block `part` is running, or what next() names; then what ran before.  Free if `profiler` is null.
class PartScope {
 public:
  /// `part` runs from now on.
  PartScope(Profiler* profiler, ModelPart part) noexcept
      : profiler_(profiler), before_(profiler != nullptr ? profiler->switch_to(part) : part) {}
  ~PartScope() { next(before_); }
  PartScope(const PartScope&) = delete;
  PartScope& operator=(const PartScope&) = delete;

  /// From now on `part` runs instead.
  void next(ModelPart part) noexcept {
    if (profiler_ != nullptr) profiler_->switch_to(part);
  }

 private:
  Profiler* profiler_;
  ModelPart before_;
};

}  // namespace kl
