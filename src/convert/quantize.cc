#include "kl/quantize.h"

#include <fmt/format.h>

#include "convert/conversion.h"
#include "kl/error.h"

namespace kl {

QuantizeResult quantize(const std::filesystem::path& from, const std::filesystem::path& to,
                        const QuantizeOptions& options) {
  if (options.bits != 4 && options.bits != 8) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("bits: expected 4 or 8, got {}", options.bits));
  }
  if (options.group_size != 32 && options.group_size != 64) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("group size: expected 32 or 64, got {}", options.group_size));
  }
  const Packing packing{{options.bits, options.group_size}};
  return quantize_by(from, to, options, packing,
                     fmt::format("kl quantize --bits {} --group-size {}", options.bits, options.group_size));
}

QuantizeResult quantize_by(const std::filesystem::path& from, const std::filesystem::path& to,
                           const QuantizeOptions& options, const Packing& packing, std::string command) {
  ConvertOptions conversion;
  conversion.to = TargetFormat::kKl;
  conversion.threads = options.threads;
  conversion.max_shard_bytes = options.max_shard_bytes;
  conversion.progress = options.progress;
  conversion.command = std::move(command);
  const ConvertResult written = convert_model(from, to, conversion, &packing);
  QuantizeResult result;
  result.source_bytes = written.source_bytes;
  result.tensor_bytes = written.tensor_bytes;
  result.packed_weights = written.quantized_weights;
  result.kept_weights = written.weights - written.quantized_weights;
  result.files = written.files;
  return result;
}

}  // namespace kl
