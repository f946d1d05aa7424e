// Cached latents: every storage type, the same bytes from every table, and back.
#include <cstring>

#include "tests/numerics.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

constexpr std::ptrdiff_t kDims[][2] = {{512, 64}, {64, 16}, {33, 5}, {7, 0}, {1, 1}, {40, 24}};
constexpr LatentType kTypes[] = {LatentType::kF32, LatentType::kBf16, LatentType::kInt8};

std::string stored(const Kernels& kernels, const LatentFormat& f, const std::vector<float>& rows) {
  const std::ptrdiff_t n = static_cast<std::ptrdiff_t>(rows.size()) / f.floats();
  std::string bytes(static_cast<std::size_t>(n * f.row_bytes()), '\0');
  for (std::ptrdiff_t t = 0; t < n; ++t)
    kernels.store_latent(f, rows.data() + t * f.floats(),
                         reinterpret_cast<std::byte*>(bytes.data()) + t * f.row_bytes());
  return bytes;
}

std::vector<float> loaded(const Kernels& kernels, const LatentFormat& f, const std::string& bytes) {
  const std::ptrdiff_t n = static_cast<std::ptrdiff_t>(bytes.size()) / f.row_bytes();
  std::vector<float> rows(static_cast<std::size_t>(n * f.floats()));
  kernels.load_latents(f, reinterpret_cast<const std::byte*>(bytes.data()), n, rows.data());
  return rows;
}

TEST(Latents, AreTheSameBytesFromEveryTableAndComeBackTheSame) {
  Random random(1);
  for (const auto& [R, P] : kDims) {
    for (const LatentType type : kTypes) {
      const LatentFormat f{type, R, P};
      std::vector<float> rows = random.normals(5 * f.floats());
      for (std::ptrdiff_t i = 0; i < f.floats(); ++i) rows[static_cast<std::size_t>(i)] = 0;  // a row of zeros
      const std::string expected = stored(reference::kernels, f, rows);
      const std::vector<float> back = loaded(reference::kernels, f, expected);
      for (const Kernels* table : fast_tables()) {
        EXPECT_TRUE(stored(*table, f, rows) == expected) << table->isa << " R " << R;
        EXPECT_EQ(loaded(*table, f, expected), back) << table->isa << " R " << R;
      }
    }
  }
}

TEST(Latents, LoseWhatTheirBitsLose) {
  Random random(2);
  const std::vector<float> rows = random.normals(64 * 576);
  const auto error = [&](LatentType type) {
    const LatentFormat f{type, 512, 64};
    const auto back = loaded(reference::kernels, f, stored(reference::kernels, f, rows));
    double e = 0, p = 0;
    for (std::size_t i = 0; i < rows.size(); ++i)
      e += std::pow(double{back[i]} - rows[i], 2), p += std::pow(double{rows[i]}, 2);
    return std::sqrt(e / p);
  };
  EXPECT_EQ(error(LatentType::kF32), 0);
  EXPECT_LE(error(LatentType::kBf16), 0x1p-9);  // half a step of 2^-8, relative
  EXPECT_LE(error(LatentType::kInt8), 0.01);    // a step is largest / 127, the largest of 512 normals is about 3.2
  EXPECT_GT(error(LatentType::kInt8), error(LatentType::kBf16));
}

TEST(Latents, RowsHaveTheSizesTheDocsState) {
  EXPECT_EQ((LatentFormat{LatentType::kF32, 512, 64}.row_bytes()), 2304);
  EXPECT_EQ((LatentFormat{LatentType::kBf16, 512, 64}.row_bytes()), 1152);
  EXPECT_EQ((LatentFormat{LatentType::kInt8, 512, 64}.row_bytes()), 584);
  EXPECT_EQ((LatentFormat{LatentType::kBf16, 3, 0}.row_bytes()), 8);
}

TEST(Latents, Bf16RowsAreWholePairs) {
  const LatentFormat f{LatentType::kBf16, 2, 1};
  const std::vector<float> row = {1, 2, 3};
  for_each_table([&](const Kernels& k) {
    std::vector<std::uint16_t> dst(4, 0x7fc0);
    k.store_latent(f, row.data(), reinterpret_cast<std::byte*>(dst.data()));
    EXPECT_EQ(dst, (std::vector<std::uint16_t>{0x3f80, 0x4000, 0x4040, 0}));
  });
}

TEST(Latents, NanAndInfinityStayVisible) {
  for (const LatentType type : kTypes) {
    for (const float bad : {static_cast<float>(NAN), static_cast<float>(INFINITY)}) {
      const LatentFormat f{type, 32, 8};
      std::vector<float> row(40, 1.0f);
      row[5] = bad;
      for_each_table([&](const Kernels& k) { EXPECT_FALSE(std::isfinite(loaded(k, f, stored(k, f, row))[5])); });
    }
  }
}

}  // namespace
}  // namespace kl::test
