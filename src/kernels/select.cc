#include "kernels/select.h"

#include <array>
#include <cstdlib>
#include <vector>

#include "kl/error.h"

namespace kl {
namespace {

constexpr std::array kCompiledIn = {&avx512::kernels, &avx2::kernels, &reference::kernels};  // best first

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
  static const std::vector<const Kernels*> available = [] {
    std::vector<const Kernels*> tables;
    for (const Kernels* table : kCompiledIn) {
      if (table->supported()) tables.push_back(table);
    }
    return tables;
  }();
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
