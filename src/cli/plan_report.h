#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "kl/memory.h"

namespace kl::cli {

/// A plan beside what this machine has now.
struct PlanReport {
  ServingPlan plan;
  std::size_t available = 0;  ///< to this process, what it holds already included; 0: the system does not say
  std::string advice;         ///< empty if the plan fits
};

/// What this program has resident with the tokenizer of `model` open, if it has a sound one: measured, not computed.
std::size_t program_bytes(const std::filesystem::path& model);

/// `cache_bytes` 0: the default of a server.
PlanReport plan_report(const MemoryPlan& model, std::int64_t ctx_size, int slots, std::size_t cache_bytes,
                       std::size_t program);

std::string table_of(const PlanReport& report);  ///< rows as `kl inspect` has them
std::string json_of(const PlanReport& report);   ///< one object

}  // namespace kl::cli
