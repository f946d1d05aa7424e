// Speed of single kernels on one thread, in the shapes of Kimi-Linear-48B-A3B, for every instruction set of the CPU.
//
//   kernels_bench [--benchmark_filter=avx512/matmul] [--benchmark_repetitions=5]
//
// Times are CPU time of the thread.  `flops` and `bytes` are rates; compare them with those of limits/.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/peaks.h"
#include "kernels/select.h"
#include "tests/support/packed.h"
#include "tests/support/random.h"

namespace kl::bench {
namespace {

using benchmark::Counter;
using benchmark::State;
using test::Random;

constexpr std::ptrdiff_t kHidden = 2304, kHeads = 32, kHeadDim = 128, kRank = 512, kPe = 64;

void set_rates(State& state, double flops, double bytes) {
  const double n = static_cast<double>(state.iterations());
  if (flops > 0) state.counters["flops"] = Counter(flops * n, Counter::kIsRate);
  if (bytes > 0) state.counters["bytes"] = Counter(bytes * n, Counter::kIsRate);
}

/// Memory in 2 MiB pages, as weights should be.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) {
    constexpr std::size_t kPage = std::size_t{2} << 20;
    const std::size_t size = (bytes + kPage - 1) / kPage * kPage;
    data_ = std::aligned_alloc(kPage, size);
    if (data_ == nullptr) std::abort();
    madvise(data_, size, MADV_HUGEPAGE);
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  template <class T>
  T* as() {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
};

void fill(Random& random, DType type, std::ptrdiff_t n, void* to) {
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const float x = static_cast<float>(random.uniform(-1, 1));
    if (type == DType::kF32) static_cast<float*>(to)[i] = x;
    if (type == DType::kBF16) static_cast<std::uint16_t*>(to)[i] = f32_to_bf16(x);
  }
}

/// y [M, 4096] = W [4096, 2304] x, over several W so that small M reads them from RAM.
void matmul(State& state, const Kernels& kernels, DType type, std::ptrdiff_t M) {
  const std::ptrdiff_t N = 4096, K = kHidden, copies = M < 64 ? 8 : 1;
  const std::ptrdiff_t bytes = N * K * static_cast<std::ptrdiff_t>(size_of(type));
  Random random(1);
  Buffer weights(static_cast<std::size_t>(copies * bytes));
  fill(random, type, copies * N * K, weights.as<void>());
  const std::vector<float> x = random.normals(M * K);
  std::vector<float> y(static_cast<std::size_t>(M * N));
  std::ptrdiff_t copy = 0;
  for (auto _ : state) {
    kernels.matmul({{weights.as<char>() + copy * bytes, type, N, K, K}, x.data(), K, y.data(), N, M}, 0, N);
    benchmark::DoNotOptimize(y.data());
    copy = (copy + 1) % copies;
  }
  set_rates(state, 2.0 * static_cast<double>(M * N * K), static_cast<double>(bytes));
}

/// The same with packed weights and quantised tokens; with M < 64 weights come from RAM.
void matmul_packed(State& state, const Kernels& kernels, const PackedFormat& format, std::ptrdiff_t M) {
  const std::ptrdiff_t N = 4096, K = kHidden, copies = M < 64 ? 24 : 1, bytes = format.matrix_bytes(N, K);
  Random random(1);
  const test::PackedWeights one(format, N, K, random);
  Buffer weights(static_cast<std::size_t>(copies * bytes));
  for (std::ptrdiff_t i = 0; i < copies; ++i)
    std::memcpy(weights.as<char>() + i * bytes, one.matrix.data, static_cast<std::size_t>(bytes));
  const std::vector<float> x = random.normals(M * K);
  const test::QuantizedRows q(kernels, x, M, K);
  std::vector<float> y(static_cast<std::size_t>(M * N));
  WeightMatrix w = one.matrix;
  std::ptrdiff_t copy = 0;
  for (auto _ : state) {
    w.data = weights.as<char>() + copy * bytes;
    kernels.matmul({w, nullptr, K, y.data(), N, M, q.data()}, 0, N);
    benchmark::DoNotOptimize(y.data());
    copy = (copy + 1) % copies;
  }
  set_rates(state, 2.0 * static_cast<double>(M * N * K), static_cast<double>(bytes));
}

void quantize_row(State& state, const Kernels& kernels) {
  const std::ptrdiff_t K = kHidden;
  Random random(1);
  const std::vector<float> x = random.normals(K);
  std::vector<std::byte> row(static_cast<std::size_t>(ActivationRow::bytes(K)));
  for (auto _ : state) {
    kernels.quantize_row(x.data(), K, row.data(), 0, K);
    benchmark::DoNotOptimize(row.data());
  }
  set_rates(state, 0, 4.0 * K);
}

/// Keys [128, 128] = latents [128, 512] W [512, 128]: the expansion of one block of latents for one head.
void matmul_transposed(State& state, const Kernels& kernels) {
  const std::ptrdiff_t M = kKeyBlock, N = kRank, K = kHeadDim;
  Random random(1);
  Buffer weights(static_cast<std::size_t>(N * K * 2));
  fill(random, DType::kBF16, N * K, weights.as<void>());
  const std::vector<float> x = random.normals(M * (N + kPe));
  std::vector<float> y(static_cast<std::size_t>(M * K));
  for (auto _ : state) {
    kernels.matmul_transposed({{weights.as<void>(), DType::kBF16, N, K, K}, x.data(), N + kPe, y.data(), K, M});
    benchmark::DoNotOptimize(y.data());
  }
  set_rates(state, 2.0 * static_cast<double>(M * N * K), 0);
}

/// T tokens of `heads` heads; with many heads and T = 1 the states come from RAM.
void kda_recurrence(State& state, const Kernels& kernels, std::ptrdiff_t T, std::ptrdiff_t heads) {
  const std::ptrdiff_t K = kHeadDim, V = kHeadDim, record = KdaRecord::floats(K);
  Random random(1);
  std::vector<float> records =
      random.uniforms(T * record, 0, 0.09);  // small enough for a state that neither grows nor dies
  const std::vector<float> v = random.normals(T * V);
  std::vector<float> o(static_cast<std::size_t>(T * V));
  Buffer S(static_cast<std::size_t>(heads * K * V) * sizeof(float));
  fill(random, DType::kF32, heads * K * V, S.as<void>());
  for (auto _ : state) {
    for (std::ptrdiff_t h = 0; h < heads; ++h) {
      kernels.kda_recurrence({records.data(), v.data(), V, o.data(), V, S.as<float>() + h * K * V, K, V, T}, 0,
                             V / kKdaSlice);
    }
    benchmark::DoNotOptimize(o.data());
  }
  const double elements = static_cast<double>(heads * T * K * V);
  set_rates(state, 7 * elements, T == 1 ? 2 * 4 * elements : 0);
  state.counters["head_tokens"] = Counter(static_cast<double>(heads * T * state.iterations()), Counter::kIsRate);
}

/// Gates and norms of 64 tokens of one head.
void kda_prepare(State& state, const Kernels& kernels) {
  const std::ptrdiff_t K = kHeadDim, T = 64;
  Random random(1);
  const std::vector<float> q = random.normals(T * K), k = random.normals(T * K), f = random.normals(T * K),
                           b = random.normals(T), dt_bias = random.normals(K);
  std::vector<float> records(static_cast<std::size_t>(T * KdaRecord::floats(K)));
  for (auto _ : state) {
    kernels.kda_prepare(
        {q.data(), k.data(), K, f.data(), K, b.data(), 1, dt_bias.data(), 0.5f, 1e-6f, K, T, records.data()});
    benchmark::DoNotOptimize(records.data());
  }
  state.counters["head_tokens"] = Counter(static_cast<double>(T * state.iterations()), Counter::kIsRate);
}

/// One token of q, k and v of all heads.
void short_conv(State& state, const Kernels& kernels) {
  const std::ptrdiff_t C = 3 * kHeads * kHeadDim, W = 4, T = 16;
  Random random(1);
  // Rows are a multiple of 4 KB apart; arrays that also start at the same offset of a page would fight for one L1 set.
  const std::ptrdiff_t x_offset = 256, y_offset = 512;
  const std::vector<float> w = random.normals(W * C), x = random.normals(T * C + x_offset);
  std::vector<float> past = random.normals((W - 1) * C), y(static_cast<std::size_t>(T * C + y_offset));
  for (auto _ : state) {
    kernels.short_conv({w.data(), C, W, past.data(), C, x.data() + x_offset, C, y.data() + y_offset, C, T}, 0, C);
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["tokens"] = Counter(static_cast<double>(T * state.iterations()), Counter::kIsRate);
}

/// 4096 keys for 32 query rows: absorbed (latents are keys and values) or expanded (one head).
void attend(State& state, const Kernels& kernels, bool absorbed) {
  const std::ptrdiff_t keys = 4096, C = absorbed ? kRank : kHeadDim, Dv = C, stride = absorbed ? C + kPe : C;
  Random random(1);
  const std::vector<float> q = random.normals(C * kLanes), q_pe = random.normals(kPe * kLanes);
  const std::vector<float> k = random.normals(keys * stride), k_pe = random.normals(keys * kPe);
  const std::vector<std::int64_t> limit(kLanes, keys);
  std::vector<float> m(kLanes), l(kLanes), O(static_cast<std::size_t>(Dv * kLanes)), scores(kKeyBlock * kLanes);
  for (auto _ : state) {
    m.assign(m.size(), -INFINITY);
    l.assign(l.size(), 0);
    O.assign(O.size(), 0);
    for (std::ptrdiff_t p = 0; p < keys; p += kKeyBlock) {
      const float* rows = k.data() + p * stride;
      kernels.attend({q.data(),
                      q_pe.data(),
                      limit.data(),
                      rows,
                      stride,
                      absorbed ? rows + C : k_pe.data() + p * kPe,
                      absorbed ? stride : kPe,
                      rows,
                      stride,
                      C,
                      kPe,
                      Dv,
                      kKeyBlock,
                      p,
                      0.07f,
                      {m.data(), l.data(), O.data()},
                      scores.data()});
    }
    benchmark::DoNotOptimize(O.data());
  }
  set_rates(state, 2.0 * static_cast<double>(keys * kLanes * (C + kPe + Dv)), static_cast<double>(keys * stride) * 4);
}

/// 32 query rows against bf16 keys: absorbed with `keys` latents, which from RAM are prefetched block by block and come
/// without pairs of values, or expanded (one head, pairs of values there already).
void attend_bf16(State& state, const Kernels& kernels, bool absorbed, std::ptrdiff_t keys) {
  const std::ptrdiff_t C = absorbed ? kRank + kPe : kHeadDim + kPe, Dv = absorbed ? kRank : kHeadDim, stride = C / 2;
  Random random(1);
  const std::vector<float> q_f32 = random.normals(C * kLanes);
  std::vector<Bf16Pair> q(static_cast<std::size_t>(C / 2 * kLanes)), v(static_cast<std::size_t>(kKeyBlock / 2 * Dv));
  kernels.pair_rows({q_f32.data(), DType::kF32, kLanes, C, kLanes, q.data(), kLanes});
  Buffer k(static_cast<std::size_t>(keys * C * 2));
  fill(random, DType::kBF16, keys * C, k.as<void>());
  kernels.pair_rows({k.as<void>(), DType::kBF16, C, kKeyBlock, Dv, v.data(), Dv});
  const std::vector<std::int64_t> limit(kLanes, keys);
  std::vector<float> m(kLanes), l(kLanes), O(static_cast<std::size_t>(Dv * kLanes)), scores(kKeyBlock * kLanes);
  for (auto _ : state) {
    m.assign(m.size(), -INFINITY);
    l.assign(l.size(), 0);
    O.assign(O.size(), 0);
    for (std::ptrdiff_t p = 0; p < keys; p += kKeyBlock) {
      const Bf16Pair *rows = k.as<Bf16Pair>() + p * stride, *next = rows + kKeyBlock * stride;
      const bool more = absorbed && p + kKeyBlock < keys;
      if (absorbed) kernels.pair_rows({rows, DType::kBF16, C, kKeyBlock, Dv, v.data(), Dv});
      kernels.attend_bf16({.q = q.data(),
                           .limit = limit.data(),
                           .k = rows,
                           .k_stride = stride,
                           .v = v.data(),
                           .C = C,
                           .Dv = Dv,
                           .n = kKeyBlock,
                           .position = p,
                           .scale = 0.07f,
                           .state = {m.data(), l.data(), O.data()},
                           .scores = scores.data(),
                           .next = more ? next : nullptr,
                           .next_bytes = more ? kKeyBlock * stride * 4 : 0});
    }
    benchmark::DoNotOptimize(O.data());
  }
  set_rates(state, 2.0 * static_cast<double>(keys * kLanes * (C + Dv)), static_cast<double>(keys * C) * 2);
}

/// Keys or values [128, 128] = latents [128, 512] W: the expansion of one block of bf16 latents for one head.
void matmul_bf16(State& state, const Kernels& kernels) {
  const std::ptrdiff_t M = kKeyBlock, K = kRank, N = kHeadDim, stride = (kRank + kPe) / 2;
  Random random(1);
  Buffer weights(static_cast<std::size_t>(N * K * 2)), x(static_cast<std::size_t>(M * stride * 4));
  fill(random, DType::kBF16, N * K, weights.as<void>());
  fill(random, DType::kBF16, M * stride * 2, x.as<void>());
  std::vector<float> y(static_cast<std::size_t>(M * N));
  for (auto _ : state) {
    kernels.matmul_bf16({weights.as<Bf16Pair>(), N, K, x.as<Bf16Pair>(), stride, y.data(), N, M});
    benchmark::DoNotOptimize(y.data());
  }
  set_rates(state, 2.0 * static_cast<double>(M * N * K), 0);
}

void read_limit(State& state, ReadLoop read) {
  const std::ptrdiff_t bytes = std::ptrdiff_t{256} << 20;
  Buffer buffer(static_cast<std::size_t>(bytes));
  Random random(1);
  fill(random, DType::kF32, bytes / 4, buffer.as<void>());
  for (auto _ : state) benchmark::DoNotOptimize(read(buffer.as<void>(), bytes));
  set_rates(state, 0, static_cast<double>(bytes));
}

void add_limits() {
  constexpr std::ptrdiff_t kRounds = 10'000;
  const auto add = [](const PeakLoop& loop) {
    if (!loop.supported()) return;
    benchmark::RegisterBenchmark((std::string("limits/") + loop.instruction).c_str(), [&loop](State& state) {
      for (auto _ : state) loop.run(kRounds);
      set_rates(state, loop.ops_per_round * kRounds, 0);
    });
  };
  for (const PeakLoop& loop : avx2::peaks) add(loop);
  for (const PeakLoop& loop : avx512::peaks) add(loop);
  if (avx2::kernels.supported())
    benchmark::RegisterBenchmark("limits/read", [](State& state) { read_limit(state, avx2::read_once); });
}

void add_benchmarks_of(const Kernels& kernels) {
  const Kernels* k = &kernels;
  const auto add = [k](const std::string& name, auto run) {
    benchmark::RegisterBenchmark((k->isa + ("/" + name)).c_str(), [k, run](State& state) { run(state, *k); });
  };
  for (const DType type : {DType::kBF16, DType::kF32}) {
    for (const std::ptrdiff_t M : {1, 2, 8, 64, 512}) {
      add("matmul/" + std::string(name_of(type)) + "/M:" + std::to_string(M),
          [type, M](State& s, const Kernels& t) { matmul(s, t, type, M); });
    }
  }
  for (const std::ptrdiff_t M : {1, 2, 4, 8, 16, 64, 512}) {
    for (const PackedFormat& f : {PackedFormat{4, 32, false, DType::kF16}, PackedFormat{4, 64, true, DType::kBF16},
                                  PackedFormat{8, 32, false, DType::kF16}, PackedFormat{4, 16, true, DType::kF32},
                                  PackedFormat{6, 16, false, DType::kF32}}) {
      add("packed/" + std::to_string(f.bits) + "bit_g" + std::to_string(f.group) + "/M:" + std::to_string(M),
          [f, M](State& s, const Kernels& t) { matmul_packed(s, t, f, M); });
    }
  }
  add("quantize_row", quantize_row);
  add("matmul_transposed/BF16/M:128", matmul_transposed);
  add("kda_recurrence/T:512", [](State& s, const Kernels& t) { kda_recurrence(s, t, 512, 1); });
  add("kda_recurrence/T:1/from_RAM", [](State& s, const Kernels& t) { kda_recurrence(s, t, 1, 6 * 20 * kHeads); });
  add("kda_prepare", kda_prepare);
  add("short_conv", short_conv);
  add("attend/absorbed", [](State& s, const Kernels& t) { attend(s, t, true); });
  add("attend/expanded", [](State& s, const Kernels& t) { attend(s, t, false); });
  add("attend_bf16/absorbed", [](State& s, const Kernels& t) { attend_bf16(s, t, true, 4096); });
  add("attend_bf16/absorbed/keys:32768", [](State& s, const Kernels& t) { attend_bf16(s, t, true, 32768); });
  add("attend_bf16/expanded", [](State& s, const Kernels& t) { attend_bf16(s, t, false, 4096); });
  add("matmul_bf16/M:128", matmul_bf16);
}

}  // namespace
}  // namespace kl::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  kl::bench::add_limits();
  for (const kl::Kernels* table : kl::available_kernels()) {
    if (table != &kl::reference::kernels) kl::bench::add_benchmarks_of(*table);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
