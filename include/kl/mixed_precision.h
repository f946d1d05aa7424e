#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "kl/options.h"
#include "kl/quantize.h"
#include "kl/tokenizer.h"

namespace kl {

/// How to quantise with a text that shows what matters.
struct MixedOptions {
  double target_bits = 4.5;  ///< bits a quantisable weight, scales included; never exceeded
  int tokens = 32768;        ///< of the text that are read for the inputs; divergences are measured on 8192 of them
  int threads = 0;           ///< 0 = one per core this process may use
  std::int64_t max_shard_bytes = 5'000'000'000;
  Progress progress;  ///< of each step of the work in turn
};

/// Modules of one role in one layer, and what was found and chosen for them.
struct GroupChoice {
  std::string name;           ///< the module's path; all experts of a layer are "experts.*"
  std::int64_t weights = 0;   ///< numbers in it
  std::int64_t bytes = 0;     ///< of the choice, scales and padding included
  double kl_4 = 0, kl_8 = 0;  ///< KL divergence with this group alone in 4 or 8 bits, nats
  int bits = 0;               ///< 4, 8, or those of the source's type
};

/// What was chosen and written.
struct MixedResult {
  QuantizeResult written;
  std::vector<GroupChoice> groups;       ///< in the order of the layers
  double bits = 0;                       ///< bits a quantisable weight, at most the target
  double least_bits = 0, most_bits = 0;  ///< the possible range
  double kl = 0;                         ///< mean KL divergence of the whole on the text, nats
  std::int64_t positions = 0;            ///< it is measured at
};

/// quantize() with 4 bits, 8 bits, or the source's type for each group of modules, whichever the text says pays most.
///
/// Method    1. The model reads the text, and the second moments of what each matrix multiplies are kept: rounding
///              errors are then spread over the inputs so that they cancel (pack_block_for).
///           2. Each group alone is packed in 4 and in 8 bits, in memory, and the KL divergence from the model as it
///              was is measured on the text.  Divergences of groups are taken to add up.
///           3. All begin with 4 bits; what saves most divergence per byte gets more, as long as the target allows.
///           4. Attention and feed-forward blocks are packed in the order of the layers, with the inputs that the model
///              packed so far gives them, towards what the model as it was makes of its own.
/// Memory    the packed model beside the mapped source, one group's moments at least, and 2 bytes per token and entry of
///           the vocabulary.
/// Time      two readings of 8192 tokens for each group, 16 in a KDA layer with experts, and four of the text for each layer;
///           two more for each time that moments of one block would take more than 2 GiB and are learned in turns.
/// Errors    as quantize(); Error(kInvalidArgument) for a target outside the possible range, kCorrupt for a text of fewer
///           than 64 tokens.
/// The same text and options give the same bytes, whatever the number of threads.
MixedResult quantize_mixed(const std::filesystem::path& from, const std::filesystem::path& to,
                           std::span<const Token> text, const MixedOptions& options = {});

}  // namespace kl
