#include <cmath>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// The two numbers of a pair.
double even_of(Bf16Pair pair) { return bf16_to_f32(static_cast<std::uint16_t>(pair)); }
double odd_of(Bf16Pair pair) { return bf16_to_f32(static_cast<std::uint16_t>(pair >> 16)); }

/// To bf16 and back.
double rounded(double x) { return bf16_to_f32(f32_to_bf16(static_cast<float>(x))); }

}  // namespace

void pair_rows(const PairRowsArgs& a) noexcept {
  const auto bits = [&](std::ptrdiff_t row, std::ptrdiff_t c) -> Bf16Pair {
    if (row >= a.rows) return 0;
    const std::ptrdiff_t i = row * a.x_stride + c;
    if (a.type == DType::kBF16) return static_cast<const std::uint16_t*>(a.x)[i];
    return f32_to_bf16(static_cast<const float*>(a.x)[i]);
  };
  for (std::ptrdiff_t s = 0; s < (a.rows + 1) / 2; ++s) {
    for (std::ptrdiff_t c = 0; c < a.n; ++c) a.dst[s * a.dst_stride + c] = bits(2 * s, c) | bits(2 * s + 1, c) << 16;
  }
}

void matmul_bf16(const MatmulBf16Args& a) noexcept {
  const std::ptrdiff_t steps = (a.K + 1) / 2, outputs = (a.N + kLanes - 1) / kLanes * kLanes;
  for (std::ptrdiff_t m = 0; m < a.M; ++m) {
    for (std::ptrdiff_t n = 0; n < outputs; ++n) {
      double y = 0;
      for (std::ptrdiff_t s = 0; s < steps; ++s) {
        const Bf16Pair w = a.w[(n / kLanes * steps + s) * kLanes + n % kLanes], x = a.x[m * a.x_stride + s];
        y += odd_of(w) * odd_of(x) + even_of(w) * even_of(x);
      }
      a.y[m * a.y_stride + n] = static_cast<float>(y);
    }
  }
}

// s = scale q.k, masked to -inf;   m' = max(m, max s);   p = exp(s - m') rounded to bf16
// l <- l exp(m - m') + sum p;   O <- O exp(m - m') + sum p v
void attend_bf16(const AttendBf16Args& a) noexcept {
  for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) {
    double score[kKeyBlock], weight[kKeyBlock], m_new = a.state.m[lane];
    for (std::ptrdiff_t i = 0; i < a.n; ++i) {
      double qk = 0;
      for (std::ptrdiff_t s = 0; s < (a.C + 1) / 2; ++s) {
        const Bf16Pair q = a.q[s * kLanes + lane], k = a.k[i * a.k_stride + s];
        qk += odd_of(q) * odd_of(k) + even_of(q) * even_of(k);
      }
      const bool visible = a.position + i < a.limit[lane];
      score[i] = visible ? double{a.scale} * qk : -INFINITY;
      if (std::isnan(score[i]) || score[i] > m_new) m_new = score[i];
    }
    if (m_new == -INFINITY) continue;   // every key so far is masked: nothing to add
    m_new = static_cast<float>(m_new);  // as it will be remembered

    const double keep = a.state.m[lane] == -INFINITY ? 0 : std::exp(a.state.m[lane] - m_new);
    double l = a.state.l[lane] * keep;
    for (std::ptrdiff_t i = 0; i < a.n; ++i) l += weight[i] = rounded(std::exp(score[i] - m_new));
    for (std::ptrdiff_t d = 0; d < a.Dv; ++d) {
      double o = a.state.O[d * kLanes + lane] * keep;
      for (std::ptrdiff_t i = 0; i < a.n; ++i) {
        const Bf16Pair v = a.v[i / 2 * a.Dv + d];
        o += weight[i] * (i % 2 == 0 ? even_of(v) : odd_of(v));
      }
      a.state.O[d * kLanes + lane] = static_cast<float>(o);
    }
    a.state.l[lane] = static_cast<float>(l);
    a.state.m[lane] = static_cast<float>(m_new);
  }
}

}  // namespace kl::reference
