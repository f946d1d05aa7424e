#pragma once
// The choices that a model's users, its layers and its commands have in common.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace kl {

/// Which of two algebraically equal forms MLA uses.  They round differently, so this is the one choice that can change
/// the last bits of a result; see docs/numerics.md.
enum class MlaForm : std::uint8_t {
  kAuto,  ///< expanded where a call brings at least kExpandFrom tokens of a sequence, none of them tentative, absorbed
          ///< otherwise: fastest.  kl's commands name the form by the text instead: SequenceInput::form
  kAbsorbed,  ///< always absorbed: results never depend on how a prompt is spread over calls.  The exact mode.
  kExpanded,  ///< always expanded (also exact, but slow for single tokens)
};

/// From so many tokens at a time on MLA's expansion pays.  Absorbed needs (2R + P) multiply-adds per query, head and key,
/// expanded (N + P + V) plus R (N + V) per head and key for the expansion.  At 48B they meet at 171 queries; measured 143
/// to 175.
inline constexpr int kExpandFrom = 192;

/// How products with quantised weights, and attention over latents in bf16, are computed.  Everything else is f32.
enum class Compute : std::uint8_t {
  kAuto,  ///< activations are rounded to 8 bits, 32 sharing a scale, and multiplied in integers; what meets bf16 latents
          ///< is rounded to bf16: fastest
  kF32,   ///< weights are widened and activations stay f32: the model that the file describes, exactly
};

/// How MLA latents are kept in a sequence's state: the memory that grows with its length.  docs/numerics.md has the errors.
enum class CacheType : std::uint8_t {
  kAuto,  ///< bf16 for a model with quantised weights, unless Compute::kF32 asks for exactness; else f32
  kF32,   ///< as computed
  kBf16,  ///< half the memory
  kInt8,  ///< a quarter
};

/// Which numbers weigh the chosen experts.
enum class RouterWeights : std::uint8_t {
  kUnbiased,  ///< the scores, as intended and as every other engine does
  kHf,        ///< score + correction bias: what the released code computes through an in-place aliasing slip
};

/// How to open a model.
struct ModelOptions {
  int threads = 0;       ///< worker threads; 0 = one per core this process may use
  std::string isa;       ///< kernel table by name; empty = $KL_ISA, else the best this CPU runs
  int chunk_tokens = 0;  ///< most tokens of one pass over the layers: bounds scratch memory, never changes results;
                         ///< 0 = the largest of 2048, 1024, 512 whose scratch is below 1/64 of the weights, else 512
  MlaForm mla_form = MlaForm::kAuto;
  Compute compute = Compute::kAuto;
  CacheType cache_type = CacheType::kAuto;
  bool bf16_state = false;  ///< KDA states in bf16: half the memory and traffic; decays above 0.998 lose by rounding
  RouterWeights router_weights = RouterWeights::kUnbiased;
  float kv_a_norm_eps = 0;  ///< > 0 overrides ModelArgs::kv_a_norm_eps
  float l2_norm_eps = 0;    ///< > 0 overrides ModelArgs::l2_norm_eps
};

/// What long work reports to, by the calling thread: what is being done ("writing"), how much of it is, and how much
/// there is in all, in a unit of its own.  It may throw to stop the work; an empty one hears nothing.
using Progress = std::function<void(std::string_view what, std::int64_t done, std::int64_t total)>;

}  // namespace kl
