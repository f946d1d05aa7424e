#include "gguf/ggml_type.h"

#include <algorithm>
#include <iterator>

namespace kl {
namespace {

// Source    ggml.h (enum ggml_type) and ggml-common.h (sizes of blocks, places of scales).  Ids left out were given up.
// clang-format off
constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4}, {1, "F16", 1, 2}, {2, "Q4_0", 32, 18, 0, 1}, {3, "Q4_1", 32, 20, 0, 2}, {6, "Q5_0", 32, 22, 0, 1},
    {7, "Q5_1", 32, 24, 0, 2}, {8, "Q8_0", 32, 34, 0, 1}, {9, "Q8_1", 32, 36}, {10, "Q2_K", 256, 84, 80, 2},
    {11, "Q3_K", 256, 110, 108, 1}, {12, "Q4_K", 256, 144, 0, 2}, {13, "Q5_K", 256, 176, 0, 2},
    {14, "Q6_K", 256, 210, 208, 1}, {15, "Q8_K", 256, 292}, {16, "IQ2_XXS", 256, 66, 0, 1},
    {17, "IQ2_XS", 256, 74, 0, 1}, {18, "IQ3_XXS", 256, 98, 0, 1}, {19, "IQ1_S", 256, 50, 0, 1},
    {20, "IQ4_NL", 32, 18, 0, 1}, {21, "IQ3_S", 256, 110, 0, 1}, {22, "IQ2_S", 256, 82, 0, 1},
    {23, "IQ4_XS", 256, 136, 0, 1}, {24, "I8", 1, 1}, {25, "I16", 1, 2}, {26, "I32", 1, 4}, {27, "I64", 1, 8},
    {28, "F64", 1, 8}, {29, "IQ1_M", 256, 56}, {30, "BF16", 1, 2}, {34, "TQ1_0", 256, 54}, {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17}, {40, "NVFP4", 64, 36},
};
// clang-format on

template <class Matches>
const GgmlType* find(Matches matches) {
  const auto found = std::find_if(std::begin(kTypes), std::end(kTypes), matches);
  return found == std::end(kTypes) ? nullptr : found;
}

}  // namespace

const GgmlType* find_ggml_type(std::uint32_t id) {
  return find([id](const GgmlType& type) { return type.id == id; });
}

const GgmlType* find_ggml_type(std::string_view name) {
  return find([name](const GgmlType& type) { return type.name == name; });
}

}  // namespace kl
