#include <algorithm>
#include <cmath>
#include <cstring>

#include "convert/row_encoder.h"
#include "packing/pack.h"
#include "packing/packed_name.h"

namespace kl {
namespace {

constexpr float kLargestWeight = 65504;  // so that an f16 scale never overflows

/// "a.b.q4_g32_f16" of "a.b.weight"; the shape without its last two dimensions counts matrices.
std::vector<EncodedTensor> packed_tensors(const PackedFormat& format, const std::string& name,
                                          const std::vector<std::int64_t>& shape) {
  const std::int64_t N = shape[shape.size() - 2], K = shape.back(), count = shape.size() > 2 ? shape.front() : 1;
  const std::string module = name.substr(0, name.rfind('.'));
  return {{{module + "." + packed_suffix(format), "U8", packed_shape(format, count, N, K)}, format.block_bytes(K)}};
}

class PackingEncoder : public RowEncoder {
 public:
  explicit PackingEncoder(const PackedFormat& format) : format_(format) {}

  std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const override {
    return packed_tensors(format_, name, shape);
  }
  std::int64_t unit() const override { return kTileOutputs; }
  bool is_quantising() const override { return true; }

  const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch& scratch,
                     std::span<std::byte* const> out) const override {
    const std::int64_t K = matrix.cols();
    float* w = scratch.rows.data();
    matrix.decode(first, count, w, scratch);
    if (!std::all_of(w, w + count * K, [](float x) { return std::fabs(x) <= kLargestWeight; }))
      return "expected finite weights up to 65504, got others";
    for (std::int64_t r = 0; r < count; r += kTileOutputs)
      pack_block(w + r * K, std::min(kTileOutputs, static_cast<std::ptrdiff_t>(count - r)), K, format_,
                 out[0] + r / kTileOutputs * format_.block_bytes(K));
    return nullptr;
  }

 private:
  PackedFormat format_;
};

class PackingKeeper : public RowEncoder {
 public:
  explicit PackingKeeper(const PackedFormat& format) : format_(format) {}

  std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const override {
    return packed_tensors(format_, name, shape);
  }
  std::int64_t unit() const override { return kTileOutputs; }

  const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch& scratch,
                     std::span<std::byte* const> out) const override {
    const std::int64_t K = matrix.cols(), groups = (K + format_.group - 1) / format_.group;
    const PackedRow row{scratch.q.data(), scratch.scale.data(), scratch.minimum.data()};
    const auto is_finite = [](float x) { return std::isfinite(x); };
    for (std::int64_t r = 0; r < count; ++r) {
      std::byte* block = out[0] + r / kTileOutputs * format_.block_bytes(K);
      if (r % kTileOutputs == 0) std::memset(block, 0, static_cast<std::size_t>(format_.block_bytes(K)));
      matrix.packed_row(first + r, row);
      if (!std::all_of(row.scale, row.scale + groups, is_finite) ||
          !std::all_of(row.minimum, row.minimum + groups, is_finite))
        return "expected finite weights, got others";
      put_packed_row(row, K, format_, r % kTileOutputs, block);
    }
    return nullptr;
  }

 private:
  PackedFormat format_;
};

class PrepackedEncoder : public RowEncoder {
 public:
  PrepackedEncoder(const PackedTensor& packed, const SourceMatrix* parts) : packed_(packed), parts_(parts) {}

  std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const override {
    return packed_tensors(packed_.format, name, shape);
  }
  std::int64_t unit() const override { return kTileOutputs; }
  bool is_quantising() const override { return true; }

  const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch&,
                     std::span<std::byte* const> out) const override {
    const std::int64_t block = packed_.format.block_bytes(matrix.cols());
    const AlignedBuffer& made = packed_.matrices[static_cast<std::size_t>(&matrix - parts_)];
    const auto* blocks = reinterpret_cast<const std::byte*>(made.data()) + first / kTileOutputs * block;
    std::memcpy(out[0], blocks, static_cast<std::size_t>((count + kTileOutputs - 1) / kTileOutputs * block));
    return nullptr;
  }

 private:
  const PackedTensor& packed_;
  const SourceMatrix* parts_;
};

}  // namespace

EncoderPtr prepacked_encoder(const PackedTensor& packed, const SourceMatrix* parts) {
  return std::make_shared<PrepackedEncoder>(packed, parts);
}

EncoderPtr packing_encoder(const PackedFormat& format) { return std::make_shared<PackingEncoder>(format); }

EncoderPtr packing_keeper(const PackedFormat& format) { return std::make_shared<PackingKeeper>(format); }

}  // namespace kl
