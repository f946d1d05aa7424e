#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "kl/model_args.h"
#include "kl/safetensors.h"
#include "kl/tokenizer.h"
#include "kl/verify.h"

namespace kl {

/// What an array of a dump holds, in the order of computation within a layer.
enum class DumpKind : std::uint8_t {
  kConvState,
  kKdaState,
  kMlaLatent,
  kMlaKPe,
  kRouterIds,
  kRouterWeights,
  kHidden,
  kLogits
};

/// One array to compare, seen as rows.
struct DumpArray {
  std::string name;  ///< as the file spells it
  DumpKind kind = DumpKind::kLogits;
  int sequence = 0;
  int layer = -1;  ///< -1: logits
  FileTensor tensor;
  std::int64_t rows = 0, cols = 0;

  /// Row `row` as doubles [cols].
  void read_row(std::int64_t row, std::span<double> out) const;
};

/// One sequence of tokens.
struct DumpSequence {
  std::vector<Token> tokens;
  std::vector<std::int64_t> positions;  ///< of the rows of its logits, ascending
};

/// Tokens, and what another program made of them.  docs/verify.md has the names; goldens are dumps.
struct Dump {
  SafetensorsFile file;
  std::vector<DumpSequence> sequences;
  std::vector<DumpArray> arrays;  ///< in the order of computation: layer by layer, within it by kind, logits last
  std::vector<std::string> ignored;
  Precision precision = Precision::kF32;
  bool is_precision_declared = false;  ///< by metadata, or by logits in f64
};

/// Reads a dump that must fit the model.
/// Errors  Error(kCorrupt) with every rule broken, naming file and array; Error(kNotFound).
Dump read_dump(const std::filesystem::path& path, const ModelArgs& args);

}  // namespace kl
