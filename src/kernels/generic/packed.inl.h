#pragma once
// Products with packed weights (packed.h): 16 outputs lie in the lanes, inputs ascend, nothing crosses lanes.
//
// Two ways to multiply.  In integers, where the activations come quantised: the bytes of four inputs of 16 outputs meet four
// bytes of a token, and sums of 32 inputs are exact whatever the order.  In f32 otherwise: weights are unpacked one input at
// a time.  Either way an output is one sequence of operations, the same for every number of tokens and every instruction set.
//
// Blocking.  Blocks of 16 outputs are contiguous, so one block after the other is one ascending stream: the order for one and
// two tokens, without prefetch.  More tokens take two blocks at a time, kPackedTokens tokens in registers, and pull the next
// blocks into L2 while the last tokens pass by.
#include "kernels/generic/matmul.inl.h"
#include "kernels/generic/quantize_row.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// What the loops know of a format at compile time; scales are loaded through a switch the CPU predicts.
template <int Bits, int Group, bool Minimum>
struct Format {
  static constexpr int kBits = Bits, kGroup = Group;
  static constexpr bool kMinimum = Minimum;
  static constexpr std::ptrdiff_t kLineInputs = Bits == 4 ? 8 : 4;  // inputs in one cache line of quants
  static constexpr std::ptrdiff_t kQuantBytes = kTileOutputs * kTileInputs * Bits / 8;
};

template <class F>
inline void with_format(const PackedFormat& format, F f) {
  if (format.bits == 4) {
    if (format.group == 64) return f(Format<4, 64, true>{});
    return format.has_minimum ? f(Format<4, 32, true>{}) : f(Format<4, 32, false>{});
  }
  if (format.group == 64) return f(Format<8, 64, true>{});
  return format.has_minimum ? f(Format<8, 32, true>{}) : f(Format<8, 32, false>{});
}

inline F32 load_scales(const std::byte* p, DType type) {
  switch (type) {
    case DType::kF16:
      return load(reinterpret_cast<const F16*>(p));
    case DType::kBF16:
      return load(reinterpret_cast<const Bf16*>(p));
    default:
      return load(reinterpret_cast<const float*>(p));
  }
}

/// Where the scales of a vector of outputs lie in a tile, in bytes after its quants.
struct ScaleLayout {
  DType type;
  std::ptrdiff_t group_bytes;    // 16 scales
  std::ptrdiff_t minimum_bytes;  // from a scale to its minimum

  explicit ScaleLayout(const PackedFormat& f)
      : type(f.scale_type),
        group_bytes(kTileOutputs * static_cast<std::ptrdiff_t>(size_of(f.scale_type))),
        minimum_bytes(f.scales_bytes()) {}
};

/// The weights of V vectors of outputs, and what to do on the way.
struct PackedPanel {
  const std::byte* w;          // first tile of the first block
  std::ptrdiff_t block_bytes;  // from a block to the next
  std::ptrdiff_t tile_bytes, tiles;
  ScaleLayout scales;
  const std::byte* ahead;  // pulled into L2 as the tiles go by; nullptr: nothing

  const std::byte* quants(int v) const { return w + v / kParts * block_bytes + v % kParts * 4 * kWidth; }
  const std::byte* scales_of(int v, std::ptrdiff_t quant_bytes) const {
    return w + v / kParts * block_bytes + quant_bytes + v % kParts * (scales.group_bytes / kParts);
  }
};

/// Quantised tokens.
struct PackedTokens {
  const std::byte* rows;
  std::ptrdiff_t row_bytes, scale_at, zero_at, sum_at, pair_sum_at;

  explicit PackedTokens(const MatmulArgs& a)
      : rows(a.q),
        row_bytes(ActivationRow::bytes(a.w.K)),
        scale_at(ActivationRow::scale_at(a.w.K)),
        zero_at(ActivationRow::zero_at(a.w.K)),
        sum_at(ActivationRow::sum_at(a.w.K)),
        pair_sum_at(ActivationRow::pair_sum_at(a.w.K)) {}
};

inline float float_at(const std::byte* p) {
  float x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
inline std::int32_t int_at(const std::byte* p) {
  std::int32_t x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

/// sum[m][v] += products of one group of 32 inputs; `w[v]` and `x` point at its first quants, x rows `row_bytes` apart.
template <class F, int M, int V>
[[gnu::always_inline]] inline void add_group(const std::byte* const (&w)[V], const std::byte* x,
                                             std::ptrdiff_t row_bytes, I32 (&sum)[M][V]) {
#pragma GCC unroll 8
  for (std::ptrdiff_t line = 0; line < kActivationGroup / F::kLineInputs; ++line) {
    I32 lines[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) lines[v] = load_integers(w[v] + line * 64);
#pragma GCC unroll 2
    for (int half = 0; half < F::kLineInputs / 4; ++half) {
      I32 w_v[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        w_v[v] = F::kBits == 8 ? lines[v] : half == 0 ? low_nibbles(lines[v]) : high_nibbles(lines[v]);
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const I32 x_m = broadcast(int_at(x + m * row_bytes + line * F::kLineInputs + half * 4));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) add_products<F::kBits>(sum[m][v], w_v[v], x_m);
      }
    }
  }
}

/// M tokens x V vectors of outputs over all inputs, in registers.  Not inlined: with more live values around it they would be
/// kept in memory.
template <class F, int M, int V>
[[gnu::noinline]] void packed_tile(PackedPanel p, PackedTokens t, F32 (*y)[V]) {
  F32 total[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) total[m][v] = zero();
  }
  const std::byte* ahead = p.ahead;
  for (std::ptrdiff_t tile = 0; tile < p.tiles; ++tile, p.w += p.tile_bytes) {
    if (ahead) {
      const std::byte* end = ahead + p.tile_bytes * (V / kParts);
      for (; ahead < end; ahead += 64) __builtin_prefetch(ahead, 0, 2);
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const std::ptrdiff_t g = tile * 2 + half;
      I32 sum[M][V];
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        I32 first = broadcast(std::int32_t{0});
        if constexpr (!F::kMinimum) {
          first = broadcast(int_at(t.rows + m * t.row_bytes + t.zero_at + 4 * g));
          if constexpr (F::kBits == 8) first = shift_left<4>(first);  // an offset of 128 in place of 8
        }
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[m][v] = first;
      }
      const std::byte* w[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) w[v] = p.quants(v) + half * (F::kQuantBytes / 2);
      add_group<F>(w, t.rows + g * kActivationGroup, t.row_bytes, sum);

      F32 scale[V], minimum[V];
      const std::ptrdiff_t group = F::kGroup == 32 ? half : 0;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const std::byte* s = p.scales_of(v, F::kQuantBytes) + group * p.scales.group_bytes;
        scale[v] = load_scales(s, p.scales.type);
        minimum[v] = F::kMinimum ? load_scales(s + p.scales.minimum_bytes, p.scales.type) : zero();
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const std::byte* row = t.rows + m * t.row_bytes;
        const F32 x_scale = broadcast(float_at(row + t.scale_at + 4 * g));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) total[m][v] = fma(to_float(sum[m][v]), scale[v] * x_scale, total[m][v]);
        if constexpr (F::kMinimum) {
          if (F::kGroup == 64 && half == 0) continue;
          const F32 x_sum =
              broadcast(float_at(F::kGroup == 64 ? row + t.pair_sum_at + 4 * tile : row + t.sum_at + 4 * g));
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) total[m][v] = fma(minimum[v], x_sum, total[m][v]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) y[m][v] = total[m][v];
  }
}

/// Stores V vectors of outputs n.. of one token, those below n1.
template <int V>
inline void store_outputs(float* y, std::ptrdiff_t n, std::ptrdiff_t n1, const F32 (&x)[V]) {
  for (int v = 0; v < V; ++v) {
    const std::ptrdiff_t at = n + v * kWidth;
    if (at + kWidth <= n1) {
      store(y + at, x[v]);
    } else if (at < n1) {
      store(y + at, x[v], Partial{n1 - at});
    }
  }
}

/// `tokens` <= M of them, from m on, for the outputs of a panel, which begin with n.
template <class F, int M, int V>
inline void packed_up_to(std::ptrdiff_t tokens, const MatmulArgs& a, std::ptrdiff_t m, std::ptrdiff_t n,
                         std::ptrdiff_t n1, const PackedPanel& p, PackedTokens t) {
  if (tokens == M) {
    F32 y[M][V];
    t.rows += m * t.row_bytes;
    packed_tile<F, M, V>(p, t, y);
    for (int i = 0; i < M; ++i) store_outputs<V>(a.y + (m + i) * a.y_stride, n, n1, y[i]);
    return;
  }
  if constexpr (M > 1) packed_up_to<F, M - 1, V>(tokens, a, m, n, n1, p, t);
}

/// Outputs [n, n1), V vectors at a time, all tokens.
template <class F, int V>
void packed_blocks(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  const PackedTokens tokens(a);
  const PackedFormat& f = a.w.format;
  const std::ptrdiff_t block_bytes = f.block_bytes(a.w.K), blocks = V / kParts;
  const std::ptrdiff_t tiles = (a.M + kPackedTokens - 1) / kPackedTokens;
  const auto* first = static_cast<const std::byte*>(a.w.data) + n0 / kTileOutputs * block_bytes;
  std::ptrdiff_t n = n0;
  for (; n + (blocks - 1) * kTileOutputs < n1; n += blocks * kTileOutputs, first += blocks * block_bytes) {
    PackedPanel panel{first, block_bytes, f.tile_bytes(), f.tiles(a.w.K), ScaleLayout(f), nullptr};
    for (std::ptrdiff_t tile = 0; tile < tiles; ++tile) {  // of equal size, or one token less
      const std::ptrdiff_t m = a.M * tile / tiles, end = a.M * (tile + 1) / tiles;
      if (tile + 1 == tiles && a.M > 2) {
        panel.ahead =
            n + blocks * kTileOutputs < n1 ? first + blocks * block_bytes : static_cast<const std::byte*>(a.next);
      }
      packed_up_to<F, kPackedTokens, V>(end - m, a, m, n, n1, panel, tokens);
    }
  }
  if constexpr (V > kParts) {
    if (n < n1) packed_blocks<F, kParts>(a, n, n1);
  }
}

/// Weights of 16 outputs and one input after the other: f(k, w) for the inputs of a tile, w one vector per part.
template <class F, class Use>
inline void unpack_tile(const std::byte* tile, const ScaleLayout& scales, Use use) {
  for (std::ptrdiff_t line = 0; line < kTileInputs / F::kLineInputs; ++line) {
    I32 quants[kParts];
    F32 scale[kParts], minimum[kParts];
    for (int part = 0; part < kParts; ++part) {
      quants[part] = load_integers(tile + line * 64 + part * 4 * kWidth);
      const std::ptrdiff_t group = line * F::kLineInputs / F::kGroup;
      const std::byte* s = tile + F::kQuantBytes + group * scales.group_bytes + part * (scales.group_bytes / kParts);
      scale[part] = load_scales(s, scales.type);
      minimum[part] = F::kMinimum ? load_scales(s + scales.minimum_bytes, scales.type)
                                  : broadcast(F::kBits == 4 ? -8.0f : -128.0f) * scale[part];
    }
    for (int i = 0; i < F::kLineInputs; ++i) {
      const int shift = F::kBits == 8 ? 8 * i : 8 * (i % 4) + 4 * (i / 4);
      F32 w[kParts];
      for (int part = 0; part < kParts; ++part) {
        const I32 q = mask_bits(shift_right(quants[part], shift), (1 << F::kBits) - 1);
        w[part] = fma(scale[part], to_float(q), minimum[part]);
      }
      use(line * F::kLineInputs + i, w);
    }
  }
}

/// y [M, 16] of one block in f32, in partial sums of a tile.
template <class F, int M>
[[gnu::noinline]] void packed_f32_block(const MatmulArgs& a, const std::byte* block, std::ptrdiff_t m, std::ptrdiff_t n,
                                        std::ptrdiff_t n1) {
  const ScaleLayout scales(a.w.format);
  F32 total[M][kParts];
  for (int i = 0; i < M; ++i) {
    for (F32& part : total[i]) part = zero();
  }
  const float* x = a.x + m * a.x_stride;
  for (std::ptrdiff_t k = 0; k < a.w.K; k += kTileInputs, block += a.w.format.tile_bytes()) {
    F32 sum[M][kParts];
    for (int i = 0; i < M; ++i) {
      for (F32& part : sum[i]) part = zero();
    }
    unpack_tile<F>(block, scales, [&](std::ptrdiff_t i, const F32(&w)[kParts]) {
      if (k + i >= a.w.K) return;
#pragma GCC unroll 8
      for (int token = 0; token < M; ++token) {
        const F32 x_i = broadcast(x[token * a.x_stride + k + i]);
        for (int part = 0; part < kParts; ++part) sum[token][part] = fma(w[part], x_i, sum[token][part]);
      }
    });
    for (int i = 0; i < M; ++i) {
      for (int part = 0; part < kParts; ++part) total[i][part] = total[i][part] + sum[i][part];
    }
  }
  for (int i = 0; i < M; ++i) store_outputs<kParts>(a.y + (m + i) * a.y_stride, n, n1, total[i]);
}

template <class F>
void packed_f32(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  constexpr int kTokens = 4;
  const std::ptrdiff_t block_bytes = a.w.format.block_bytes(a.w.K);
  const auto* block = static_cast<const std::byte*>(a.w.data) + n0 / kTileOutputs * block_bytes;
  for (std::ptrdiff_t n = n0; n < n1; n += kTileOutputs, block += block_bytes) {
    std::ptrdiff_t m = 0;
    for (; m + kTokens <= a.M; m += kTokens) packed_f32_block<F, kTokens>(a, block, m, n, n1);
    for (; m < a.M; ++m) packed_f32_block<F, 1>(a, block, m, n, n1);
  }
}

void matmul(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept {
  if (a.w.type != DType::kPacked) return matmul_rows(a, n0, n1);
  with_format(a.w.format, [&](auto format) {
    using F = decltype(format);
    if (a.q == nullptr) return packed_f32<F>(a, n0, n1);
    if (a.M <= 2) return packed_blocks<F, kParts>(a, n0, n1);
    packed_blocks<F, 2>(a, n0, n1);
  });
}

/// Row n of a packed matrix, one element at a time: embeddings, and MLA's small per-head matrices.
template <class F>
void packed_row(const WeightMatrix& w, std::ptrdiff_t n, float* dst) {
  const PackedFormat& f = w.format;
  const auto* tile = static_cast<const std::byte*>(w.data) + n / kTileOutputs * f.block_bytes(w.K);
  const std::ptrdiff_t r = n % kTileOutputs;
  const auto scale_of = [&](const std::byte* scales, std::ptrdiff_t i) {
    const std::ptrdiff_t at = i / F::kGroup * kTileOutputs + r;
    if (f.scale_type == DType::kF32) return float_at(scales + 4 * at);
    std::uint16_t bits;
    __builtin_memcpy(&bits, scales + 2 * at, sizeof bits);
    return f.scale_type == DType::kBF16 ? bf16_to_f32(bits)
                                        : first_lane(load(reinterpret_cast<const F16*>(scales + 2 * at), Partial{1}));
  };
  for (std::ptrdiff_t k = 0; k < w.K; k += kTileInputs, tile += f.tile_bytes()) {
    const std::byte* scales = tile + F::kQuantBytes;
    float scale = 0, minimum = 0;
    for (std::ptrdiff_t i = 0; i < kTileInputs && k + i < w.K; ++i) {
      if (i % F::kGroup == 0) {
        scale = scale_of(scales, i);
        minimum = F::kMinimum ? scale_of(scales + f.scales_bytes(), i) : (F::kBits == 4 ? -8.0f : -128.0f) * scale;
      }
      const auto byte = static_cast<unsigned>(tile[i / F::kLineInputs * 64 + 4 * r + i % 4]);
      const unsigned q = F::kBits == 8 ? byte : i % 8 < 4 ? byte & 15u : byte >> 4;
      dst[k + i] = __builtin_fmaf(scale, static_cast<float>(q), minimum);
    }
  }
}

void weight_row(const WeightMatrix& w, std::ptrdiff_t n, float* dst) noexcept {
  if (w.type == DType::kPacked)
    return with_format(w.format, [&](auto format) { packed_row<decltype(format)>(w, n, dst); });
  with_weight_type(w.type, [&](auto tag) {
    const auto* row = static_cast<const decltype(tag)*>(w.data) + n * w.stride;
    for_each_vector(w.K, [&](std::ptrdiff_t i, auto lanes) { store(dst + i, load(row + i, lanes), lanes); });
  });
}

}  // namespace
}  // namespace kl::KL_ISA_NAMESPACE
