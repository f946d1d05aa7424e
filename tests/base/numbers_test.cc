// Numbers of files against their definitions.
#include "base/numbers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace kl {
namespace {

TEST(Numbers, SmallFloatsAreThoseOfTheirDefinitions) {
  constexpr double kE2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (unsigned code = 0; code < 16; ++code)
    EXPECT_EQ(0.5 * kTwiceE2m1[code], (code < 8 ? 1 : -1) * kE2m1[code % 8]) << code;
  for (unsigned code = 0; code < 256; ++code) {
    const auto value = e4m3_to_f32(static_cast<std::uint8_t>(code));
    const unsigned exponent = code >> 3 & 15u, fraction = code & 7u;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, static_cast<int>(exponent) - 10);
    if ((code & 127u) == 127) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(value, (code < 128 ? 1 : -1) * magnitude) << code;
      EXPECT_EQ(std::signbit(value), code >= 128) << code;
    }
    const float power = e8m0_to_f32(static_cast<std::uint8_t>(code));
    if (code == 255) {
      EXPECT_TRUE(std::isnan(power));
    } else {
      EXPECT_EQ(power, std::ldexp(1.0, static_cast<int>(code) - 127)) << code;
    }
  }
}

TEST(Numbers, E5m2IsWideEnoughForInfinities) {
  EXPECT_EQ(e5m2_to_f32(0x3c), 1);
  EXPECT_EQ(e5m2_to_f32(0x01), 0x1p-16f);
  EXPECT_EQ(e5m2_to_f32(0xfb), -57344);
  EXPECT_EQ(e5m2_to_f32(0x7c), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(e5m2_to_f32(0x7d)));
}

/// The bytes of `values` behind one that shifts them off their alignment.
template <class T>
std::vector<std::byte> shifted(const std::vector<T>& values) {
  std::vector<std::byte> bytes(1 + values.size() * sizeof(T));
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(T));
  return bytes;
}

template <class Out, class T>
std::vector<Out> read(const char* type, const std::vector<T>& values) {
  std::vector<Out> out(values.size());
  read_numbers(*parse_number_type(type), shifted(values).data() + 1, out.size(), out.data());
  return out;
}

TEST(Numbers, OfEveryTypeAreReadAtAnyAlignment) {
  using Floats = std::vector<float>;
  using Integers = std::vector<std::int64_t>;
  EXPECT_EQ(read<float>("F64", std::vector<double>{0.5, 1e300}), (Floats{0.5f, HUGE_VALF}));
  EXPECT_EQ(read<double>("F64", std::vector<double>{1e300}), std::vector<double>{1e300});
  EXPECT_EQ(read<double>("F32", Floats{-0.1f}), std::vector<double>{double{-0.1f}});
  EXPECT_EQ(read<float>("F16", std::vector<std::uint16_t>{0x3c00, 0xc000, 0x0001}), (Floats{1, -2, 0x1p-24f}));
  EXPECT_EQ(read<float>("BF16", std::vector<std::uint16_t>{0x3f80, 0xc000}), (Floats{1, -2}));
  EXPECT_EQ(read<float>("F8_E4M3", std::vector<std::uint8_t>{0x38, 0xfe}), (Floats{1, -448}));
  EXPECT_EQ(read<float>("F8_E5M2", std::vector<std::uint8_t>{0x3c}), Floats{1});
  EXPECT_EQ(read<float>("F8_E8M0", std::vector<std::uint8_t>{127, 0}), (Floats{1, 0x1p-127f}));
  const std::int64_t least = std::numeric_limits<std::int64_t>::min();
  EXPECT_EQ(read<std::int64_t>("I64", Integers{least, -1}), (Integers{least, -1}));
  EXPECT_EQ(read<std::int64_t>("I32", std::vector<std::int32_t>{-7}), Integers{-7});
  EXPECT_EQ(read<std::int64_t>("I16", std::vector<std::int16_t>{-7}), Integers{-7});
  EXPECT_EQ(read<std::int64_t>("I8", std::vector<std::int8_t>{-7}), Integers{-7});
  EXPECT_EQ(read<std::int64_t>("U32", std::vector<std::uint32_t>{4'000'000'000}), Integers{4'000'000'000});
  EXPECT_EQ(read<std::int64_t>("U16", std::vector<std::uint16_t>{65535}), Integers{65535});
  EXPECT_EQ(read<std::int64_t>("U8", std::vector<std::uint8_t>{255}), Integers{255});
  EXPECT_EQ(read<double>("I8", std::vector<std::int8_t>{-7}), std::vector<double>{-7});
}

TEST(Numbers, TypesKnowTheirKindAndSize) {
  for (const char* name : {"F64", "F32", "F16", "BF16"}) EXPECT_TRUE(is_float(*parse_number_type(name))) << name;
  for (const char* name : {"F8_E4M3", "F8_E5M2", "F8_E8M0"}) {
    EXPECT_FALSE(is_float(*parse_number_type(name)) || is_integer(*parse_number_type(name))) << name;
    EXPECT_EQ(size_of(*parse_number_type(name)), 1) << name;
  }
  for (const char* name : {"I64", "I32", "I16", "I8", "U32", "U16", "U8"})
    EXPECT_TRUE(is_integer(*parse_number_type(name))) << name;
  EXPECT_FALSE(parse_number_type("U64"));
  EXPECT_FALSE(parse_number_type("f32"));
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    EXPECT_EQ(parse_number_type(name_of(type)), number_type(type));
    EXPECT_EQ(size_of(number_type(type)), size_of(type));
  }
}

TEST(Numbers, WhatIsStoredIsTheRoundedNumber) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<std::byte> bytes(13);
    store(0.1f, type, 2, bytes.data() + 1);
    EXPECT_EQ(widen(bytes.data() + 1, type, 2), rounded_to(0.1f, type)) << name_of(type);
    EXPECT_NEAR(rounded_to(0.1f, type), 0.1, type == DType::kBF16 ? 2e-3 : 1e-4);
  }
}

}  // namespace
}  // namespace kl
