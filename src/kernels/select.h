#pragma once
#include <span>
#include <string>
#include <string_view>

#include "kernels/kernels.h"

namespace kl {

/// Every table compiled in and runnable on this CPU, best first; the last is always "reference".  "avx512bf16" comes
/// before "avx512" where its instruction is faster than FMA, which the first call measures (0.2 ms).
std::span<const Kernels* const> available_kernels();

/// The table named by `isa`, or by $KL_ISA if `isa` is empty, or the best if that is unset.
/// Throws Error(kInvalidArgument) listing the tables available here if the name is none of them: a forced table never
/// falls back silently.
const Kernels& select_kernels(std::string_view isa = {});

}  // namespace kl
