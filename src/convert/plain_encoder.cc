#include <cmath>
#include <cstring>

#include "base/numbers.h"
#include "convert/row_encoder.h"

namespace kl {
namespace {

class PlainEncoder : public RowEncoder {
 public:
  PlainEncoder(DType type, bool negated_exp) : type_(type), negated_exp_(negated_exp) {}

  std::vector<EncodedTensor> tensors(const std::string& name, const std::vector<std::int64_t>& shape) const override {
    return {{{name, name_of(type_), shape}, shape.back() * static_cast<std::int64_t>(size_of(type_))}};
  }

  const char* encode(const SourceMatrix& matrix, std::int64_t first, std::int64_t count, RowScratch& scratch,
                     std::span<std::byte* const> out) const override {
    const std::int64_t n = count * matrix.cols();
    const std::byte* bytes = matrix.bytes_at(first);
    if (bytes != nullptr && matrix.form().type == type_ && !negated_exp_) {
      std::memcpy(out[0], bytes, static_cast<std::size_t>(n) * size_of(type_));
      return nullptr;
    }
    float* x = scratch.rows.data();
    matrix.decode(first, count, x, scratch);
    if (negated_exp_) {
      for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(-std::exp(static_cast<double>(x[i])));
    }
    return type_ == DType::kF32 ? store_f32(x, n, out[0]) : store_half(x, n, out[0]);
  }

 private:
  static const char* store_f32(const float* x, std::int64_t n, std::byte* out) {
    std::memcpy(out, x, static_cast<std::size_t>(n) * sizeof(float));
    return nullptr;
  }

  const char* store_half(const float* x, std::int64_t n, std::byte* out) const {
    std::int64_t changed = 0;
    bool overflows = false;
    for (std::int64_t i = 0; i < n; ++i) {
      const float back = rounded_to(x[i], type_);
      changed += back != x[i];
      overflows = overflows || (std::isinf(back) && !std::isinf(x[i]));
      store(x[i], type_, i, out);
    }
    rounded_ += changed;
    return overflows ? "expected weights that the type reaches, got larger ones" : nullptr;
  }

  DType type_;
  bool negated_exp_;
};

}  // namespace

EncoderPtr plain_encoder(DType type, bool negated_exp) { return std::make_shared<PlainEncoder>(type, negated_exp); }

}  // namespace kl
