#pragma once
// Products with packed weights (packed.h): 16 outputs lie in the lanes, inputs ascend, nothing crosses lanes.
//
// Two ways to multiply.  In integers, where the activations come quantised: the bytes of four inputs of 16 outputs meet four
// bytes of a token, and sums of 32 inputs (16 where they share a scale) are exact whatever the order.  In f32 otherwise:
// weights are unpacked one input at a time.  Either way an output is one sequence of operations, the same for every number of
// tokens and every instruction set.
//
// Blocking.  Blocks of 16 outputs are contiguous, so one block after the other is one ascending stream: the order for one and
// two tokens, without prefetch (two tokens and groups of 16: with).  More tokens take two blocks at a time, kPackedTokens
// tokens in registers, and pull the next blocks into L2 while the last tokens pass by.
#include "kernels/generic/ahead.inl.h"
#include "kernels/generic/matmul.inl.h"
#include "kernels/generic/quantize_row.inl.h"

namespace kl::KL_ISA_NAMESPACE {
namespace {

/// What the loops know of a format at compile time; scales are loaded through a switch the CPU predicts.
template <int Bits, int Group, bool Minimum>
struct Format {
  static constexpr int kBits = Bits, kGroup = Group;
  static constexpr bool kMinimum = Minimum;
  static constexpr float kMiddle = static_cast<float>(1 << (Bits - 1));  // times the scale: without a minimum, minus it
  // Inputs that share the weights' scale and the token's.
  static constexpr std::ptrdiff_t kSpan = Group < kActivationGroup ? Group : kActivationGroup;
  static constexpr std::ptrdiff_t kQuantBytes = kTileOutputs * kTileInputs * Bits / 8;
};

/// Calls f with the Format of a format that exists().
template <class F>
inline void with_format(const PackedFormat& format, F f) {
  if (format.group == 16) {
    if (format.bits == 6) return f(Format<6, 16, false>{});
    return format.has_minimum ? f(Format<4, 16, true>{}) : f(Format<4, 16, false>{});
  }
  if (format.bits == 4) {
    if (format.group == 64) return f(Format<4, 64, true>{});
    return format.has_minimum ? f(Format<4, 32, true>{}) : f(Format<4, 32, false>{});
  }
  if (format.group == 64) return f(Format<8, 64, true>{});
  return format.has_minimum ? f(Format<8, 32, true>{}) : f(Format<8, 32, false>{});
}

/// The inputs whose quants lie together, in whole cache lines.
template <int Bits>
struct QuantLines {
  static constexpr int kInputs = Bits == 8 ? 4 : Bits == 4 ? 8 : 16;
  static constexpr int kLines = kInputs * Bits / 32;

  I32 line[kLines];

  /// Takes them from p.
  [[gnu::always_inline]] void load(const std::byte* p) {
#pragma GCC unroll 3
    for (int l = 0; l < kLines; ++l) line[l] = load_integers(p + 64 * l);
  }

  /// Inputs 4 i to 4 i + 3, a byte each.
  [[gnu::always_inline]] I32 four(int i) const {
    if constexpr (Bits == 8) {
      return line[0];
    } else {
      const I32 low = i % 2 == 0 ? low_nibbles(line[i / 2]) : high_nibbles(line[i / 2]);
      if constexpr (Bits == 4) return low;
      const I32 high = line[kLines - 1];
      const I32 in_place = i == 0   ? shift_left<4>(high)
                           : i == 1 ? shift_left<2>(high)
                           : i == 2 ? high
                                    : shift_right<2>(high);
      return low | mask_bits(in_place, 0x30303030);
    }
  }
};

/// Scales or minima of a vector of outputs.
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

  /// Of a format.
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
  Ahead ahead;

  /// Quants and scales of the v-th vector of outputs in the tile at w.
  const std::byte* quants(int v) const { return w + v / kParts * block_bytes + v % kParts * 4 * kWidth; }
  const std::byte* scales_of(int v, std::ptrdiff_t quant_bytes) const {
    return w + v / kParts * block_bytes + quant_bytes + v % kParts * (scales.group_bytes / kParts);
  }
};

/// Quantised tokens.
struct PackedTokens {
  const std::byte* rows;
  std::ptrdiff_t row_bytes, scale_at, zero_at, sum_at, pair_sum_at, zero16_at;

  /// The rows a.q.
  explicit PackedTokens(const MatmulArgs& a)
      : rows(a.q),
        row_bytes(ActivationRow::bytes(a.w.K)),
        scale_at(ActivationRow::scale_at(a.w.K)),
        zero_at(ActivationRow::zero_at(a.w.K)),
        sum_at(ActivationRow::sum_at(a.w.K)),
        pair_sum_at(ActivationRow::pair_sum_at(a.w.K)),
        zero16_at(ActivationRow::zero16_at(a.w.K)) {}
};

/// A number that may lie anywhere.
inline float float_at(const std::byte* p) {
  float x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
/// The same for integers.
inline std::int32_t int_at(const std::byte* p) {
  std::int32_t x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

/// sum[m][v] += products of one span of inputs; `w[v]` and `x` point at its first quants, x rows `row_bytes` apart.
template <class F, int M, int V>
[[gnu::always_inline]] inline void add_span(const std::byte* const (&w)[V], const std::byte* x,
                                            std::ptrdiff_t row_bytes, I32 (&sum)[M][V]) {
  using Lines = QuantLines<F::kBits>;
#pragma GCC unroll 8
  for (std::ptrdiff_t at = 0; at < F::kSpan / Lines::kInputs; ++at) {
    Lines lines[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) lines[v].load(w[v] + at * Lines::kLines * 64);
#pragma GCC unroll 4
    for (int i = 0; i < Lines::kInputs / 4; ++i) {
      I32 w_v[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) w_v[v] = lines[v].four(i);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const I32 x_m = broadcast(int_at(x + m * row_bytes + at * Lines::kInputs + i * 4));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) add_products<F::kBits>(sum[m][v], w_v[v], x_m);
      }
    }
  }
}

/// The first number of the sum over span `s` of a token: what the middle of weights without a minimum contributes.
template <class F>
[[gnu::always_inline]] inline I32 first_of_sum(const PackedTokens& t, const std::byte* row, std::ptrdiff_t s) {
  if constexpr (F::kMinimum) {
    return broadcast(std::int32_t{0});
  } else {
    const I32 zeros = broadcast(int_at(row + (F::kSpan == 32 ? t.zero_at : t.zero16_at) + 4 * s));
    if constexpr (F::kBits == 4) return zeros;  // -8 times the sum
    return shift_left<F::kBits - 4>(zeros);
  }
}

/// The sum over the weights' group that ends with span `s` of a token, which multiplies their minimum.
template <class F>
[[gnu::always_inline]] inline F32 sum_of_inputs(const PackedTokens& t, const std::byte* row, std::ptrdiff_t s) {
  if constexpr (F::kGroup == 64) return broadcast(float_at(row + t.pair_sum_at + 4 * (s / 2)));
  if constexpr (F::kGroup == 32) return broadcast(float_at(row + t.sum_at + 4 * s));
  const std::int32_t q_sum = int_at(row + t.zero16_at + 4 * s) / -8;
  return broadcast(float_at(row + t.scale_at + 4 * (s / 2)) * static_cast<float>(q_sum));
}

/// M tokens x V vectors of outputs over all inputs, in registers.  Not inlined: with more live values around it they would be
/// kept in memory.
template <class F, int M, int V>
[[gnu::noinline]] void packed_tile(PackedPanel p, PackedTokens t, F32 (*y)[V]) {
  constexpr int kSpans = static_cast<int>(kTileInputs / F::kSpan);  // of a tile
  F32 total[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) total[m][v] = zero();
  }
  for (std::ptrdiff_t tile = 0; tile < p.tiles; ++tile, p.w += p.tile_bytes) {
    p.ahead.pull();
#pragma GCC unroll 2
    for (int part = 0; part < kSpans; ++part) {
      const std::ptrdiff_t s = tile * kSpans + part;
      I32 sum[M][V];
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const I32 first = first_of_sum<F>(t, t.rows + m * t.row_bytes, s);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[m][v] = first;
      }
      const std::byte* w[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) w[v] = p.quants(v) + part * (F::kQuantBytes / kSpans);
      add_span<F>(w, t.rows + s * F::kSpan, t.row_bytes, sum);

      F32 scale[V], minimum[V];
      const std::ptrdiff_t group = part * F::kSpan / F::kGroup;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const std::byte* at = p.scales_of(v, F::kQuantBytes) + group * p.scales.group_bytes;
        scale[v] = load_scales(at, p.scales.type);
        minimum[v] = F::kMinimum ? load_scales(at + p.scales.minimum_bytes, p.scales.type) : zero();
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const std::byte* row = t.rows + m * t.row_bytes;
        const F32 x_scale = broadcast(float_at(row + t.scale_at + 4 * (s * F::kSpan / kActivationGroup)));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) total[m][v] = fma(to_float(sum[m][v]), scale[v] * x_scale, total[m][v]);
        if constexpr (F::kMinimum) {
          if (F::kGroup == 64 && part == 0) continue;
          const F32 x_sum = sum_of_inputs<F>(t, row, s);
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
///
/// What is pulled in on the way (docs/kernels.md): the next blocks, during the last tile of tokens or, with kFarAhead, evenly
/// over all of them.  A single stream of weights is left to the CPU, unless kFarAhead.
template <class F, int V, bool kFarAhead>
void packed_blocks(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) {
  const PackedTokens tokens(a);
  const PackedFormat& f = a.w.format;
  const std::ptrdiff_t block_bytes = f.block_bytes(a.w.K), blocks = V / kParts, panel_bytes = blocks * block_bytes;
  const std::ptrdiff_t tiles = (a.M + kPackedTokens - 1) / kPackedTokens;
  constexpr std::ptrdiff_t kStream = F::kGroup == 16 ? 1 : 2;  // most tokens for which the weights are a single stream
  constexpr std::ptrdiff_t kStreamAhead = 9216;  // more than two pages: where Intel's own prefetcher stops
  const auto* first = static_cast<const std::byte*>(a.w.data) + n0 / kTileOutputs * block_bytes;
  const auto* after = static_cast<const std::byte*>(a.next);
  const std::byte* last = first + (n1 - n0 + kTileOutputs - 1) / kTileOutputs * block_bytes;
  std::ptrdiff_t n = n0;
  for (; n + (blocks - 1) * kTileOutputs < n1; n += blocks * kTileOutputs, first += panel_bytes) {
    PackedPanel panel{first, block_bytes, f.tile_bytes(), f.tiles(a.w.K), ScaleLayout(f), {}};
    const std::byte* next = n + blocks * kTileOutputs < n1 ? first + panel_bytes : after;
    for (std::ptrdiff_t tile = 0; tile < tiles; ++tile) {  // of equal size, or one token less
      const std::ptrdiff_t m = a.M * tile / tiles, end = a.M * (tile + 1) / tiles;
      if (a.M <= kStream) {
        if constexpr (kFarAhead) {
          panel.ahead = {nullptr, last, after, f.tile_bytes() * blocks};
          panel.ahead.begin(first, kStreamAhead);
        }
      } else if (next != nullptr && (kFarAhead || tile + 1 == tiles)) {
        const std::ptrdiff_t steps = kFarAhead ? tiles * panel.tiles : panel.tiles;
        const std::ptrdiff_t step = (panel_bytes / 64 + steps - 1) / steps * 64;
        panel.ahead = {nullptr, next + panel_bytes, nullptr, step};
        panel.ahead.begin(next, kFarAhead ? tile * panel.tiles * step : 0);
      }
      packed_up_to<F, kPackedTokens, V>(end - m, a, m, n, n1, panel, tokens);
    }
  }
  if constexpr (V > kParts) {
    if (n < n1) packed_blocks<F, kParts, kFarAhead>(a, n, n1);
  }
}

/// Weights of 16 outputs and one input after the other: f(k, w) for the inputs of a tile, w one vector per part.
template <class F, class Use>
inline void unpack_tile(const std::byte* tile, const ScaleLayout& scales, Use use) {
  using Lines = QuantLines<F::kBits>;
  for (std::ptrdiff_t k = 0; k < kTileInputs; k += Lines::kInputs) {
    Lines lines[kParts];
    F32 scale[kParts], minimum[kParts];
    for (int part = 0; part < kParts; ++part) {
      lines[part].load(tile + k / Lines::kInputs * Lines::kLines * 64 + part * 4 * kWidth);
      const std::byte* s =
          tile + F::kQuantBytes + k / F::kGroup * scales.group_bytes + part * (scales.group_bytes / kParts);
      scale[part] = load_scales(s, scales.type);
      minimum[part] =
          F::kMinimum ? load_scales(s + scales.minimum_bytes, scales.type) : broadcast(-F::kMiddle) * scale[part];
    }
    for (int i = 0; i < Lines::kInputs; ++i) {
      F32 w[kParts];
      for (int part = 0; part < kParts; ++part) {
        const I32 q = mask_bits(shift_right(lines[part].four(i / 4), 8 * (i % 4)), 255);
        w[part] = fma(scale[part], to_float(q), minimum[part]);
      }
      use(k + i, w);
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

/// Packed weights and tokens in f32, kTokens at a time.
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

/// MatmulFn.
template <bool kFarAhead>
void matmul(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept {
  if (a.w.type != DType::kPacked) return matmul_rows(a, n0, n1);
  with_format(a.w.format, [&](auto format) {
    using F = decltype(format);
    if (a.q == nullptr) return packed_f32<F>(a, n0, n1);
    if (a.M <= 2) return packed_blocks<F, kParts, kFarAhead>(a, n0, n1);
    packed_blocks<F, 2, kFarAhead>(a, n0, n1);
  });
}

/// Number of output r and input i of a tile.
template <int Bits>
inline unsigned quant_of(const std::byte* tile, std::ptrdiff_t r, std::ptrdiff_t i) {
  using Lines = QuantLines<Bits>;
  const std::byte* lines = tile + i / Lines::kInputs * Lines::kLines * 64 + 4 * r + i % 4;
  if constexpr (Bits == 8) {
    return static_cast<unsigned>(*lines);
  } else {
    const auto byte = static_cast<unsigned>(lines[i % Lines::kInputs / 8 * 64]);
    const unsigned low = i % 8 < 4 ? byte & 15u : byte >> 4;
    if constexpr (Bits == 4) return low;
    return low | (static_cast<unsigned>(lines[(Lines::kLines - 1) * 64]) >> (i % 16 / 4 * 2) & 3u) << 4;
  }
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
        minimum = F::kMinimum ? scale_of(scales + f.scales_bytes(), i) : -F::kMiddle * scale;
      }
      dst[k + i] = __builtin_fmaf(scale, static_cast<float>(quant_of<F::kBits>(tile, r, i)), minimum);
    }
  }
}

/// WeightRowFn.
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
