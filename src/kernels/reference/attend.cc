#include <cmath>

#include "kernels/reference/ops.h"

namespace kl::reference {
namespace {

/// exp(m - m_new) where -inf means "nothing seen yet".
double rescale(double m, double m_new) { return m == -INFINITY ? 0 : std::exp(m - m_new); }

}  // namespace

void pack_lanes(const float* const* src, std::ptrdiff_t rows, std::ptrdiff_t n, float* dst) noexcept {
  for (std::ptrdiff_t c = 0; c < n; ++c) {
    for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) dst[c * kLanes + lane] = lane < rows ? src[lane][c] : 0;
  }
}

// s = scale (q.k + q_pe.k_pe), masked to -inf;   m' = max(m, max s);   p = exp(s - m')
// l <- l exp(m - m') + sum p;   O <- O exp(m - m') + sum p v
void attend(const AttendArgs& a) noexcept {
  for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) {
    double score[kKeyBlock], weight[kKeyBlock], m_new = a.state.m[lane];
    for (std::ptrdiff_t i = 0; i < a.n; ++i) {
      double qk = 0;
      for (std::ptrdiff_t c = 0; c < a.C; ++c) qk += double{a.q[c * kLanes + lane]} * a.k[i * a.k_stride + c];
      for (std::ptrdiff_t c = 0; c < a.P; ++c) qk += double{a.q_pe[c * kLanes + lane]} * a.k_pe[i * a.pe_stride + c];
      const bool visible = a.position + i < a.limit[lane];
      score[i] = visible ? double{a.scale} * qk : -INFINITY;
      if (std::isnan(score[i]) || score[i] > m_new) m_new = score[i];
    }
    if (m_new == -INFINITY) continue;   // every key so far is masked: nothing to add
    m_new = static_cast<float>(m_new);  // as it will be remembered

    const double keep = rescale(a.state.m[lane], m_new);
    double l = a.state.l[lane] * keep;
    for (std::ptrdiff_t i = 0; i < a.n; ++i) l += weight[i] = std::exp(score[i] - m_new);
    for (std::ptrdiff_t d = 0; d < a.Dv; ++d) {
      double o = a.state.O[d * kLanes + lane] * keep;
      for (std::ptrdiff_t i = 0; i < a.n; ++i) o += weight[i] * a.v[i * a.v_stride + d];
      a.state.O[d * kLanes + lane] = static_cast<float>(o);
    }
    a.state.l[lane] = static_cast<float>(l);
    a.state.m[lane] = static_cast<float>(m_new);
  }
}

// The sums of two sets of keys over one maximum: m' = max(m, m_part).
void attend_merge(const AttendState& into, const AttendState& part, std::ptrdiff_t Dv) noexcept {
  for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) {
    const double m = std::fmax(into.m[lane], part.m[lane]);
    const double keep = rescale(into.m[lane], m), take = rescale(part.m[lane], m);
    into.m[lane] = static_cast<float>(m);
    into.l[lane] = static_cast<float>(into.l[lane] * keep + part.l[lane] * take);
    for (std::ptrdiff_t d = 0; d < Dv; ++d) {
      float& O = into.O[d * kLanes + lane];
      O = static_cast<float>(O * keep + part.O[d * kLanes + lane] * take);
    }
  }
}

void attend_finish(const AttendState& s, std::ptrdiff_t Dv, float* const* dst, std::ptrdiff_t rows) noexcept {
  for (std::ptrdiff_t lane = 0; lane < rows; ++lane) {
    for (std::ptrdiff_t d = 0; d < Dv; ++d) dst[lane][d] = s.O[d * kLanes + lane] / s.l[lane];
  }
}

}  // namespace kl::reference
