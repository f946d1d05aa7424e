// GGUF containers: what is read, and everything that is refused.
#include <gtest/gtest.h>

#include <functional>

#include "gguf/gguf_file.h"
#include "kl/gguf.h"
#include "tests/support/error_of.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/temp_dir.h"

namespace kl {
namespace {

using namespace test;

/// Two tensors, a value of every kind.
GgufBytes sound() {
  GgufBytes file;
  file.set("general.architecture", text("kimi-linear"));
  file.set("a.u8", u8(200)).set("a.i32", i32(-5)).set("a.u64", u64(1ull << 40)).set("a.f32", f32(0.5f));
  file.set("a.bool", boolean(1)).set("a.texts", texts({"x", "", "yz"})).set("a.numbers", i32s({3, 0, -1}));
  file.tensor("first") = {"first", {3, 2}, 0, std::string(24, 'a')};
  file.tensor("second") = {"second", {64, 2, 3}, 2, std::string(2 * 6 * 18, 'b')};
  return file;
}

TEST(Gguf, ReadsValuesAndTensors) {
  const std::string bytes = sound().bytes();
  const auto file = GgufFile::parse(bytes, "x.gguf");
  EXPECT_EQ(file->find("a.u8")->integer(), 200);
  EXPECT_EQ(file->find("a.i32")->integer(), -5);
  EXPECT_EQ(file->find("a.u64")->integer(), std::int64_t{1} << 40);
  EXPECT_EQ(file->find("a.f32")->number(), 0.5);
  EXPECT_EQ(file->find("a.f32")->integer(), std::nullopt);
  EXPECT_EQ(file->find("a.bool")->boolean(), true);
  EXPECT_EQ(file->find("general.architecture")->text(), "kimi-linear");
  EXPECT_EQ(file->find("a.texts")->texts(), (std::vector<std::string_view>{"x", "", "yz"}));
  EXPECT_EQ(file->find("a.numbers")->integers(), (std::vector<std::int64_t>{3, 0, -1}));
  EXPECT_EQ(file->find("a.texts")->describe(), "an array of 3 string");
  EXPECT_EQ(file->find("nothing"), nullptr);
  const GgufFile::Tensor& second = file->tensors().at("second");
  EXPECT_EQ(second.type->name, "Q4_0");
  EXPECT_EQ(second.shape, (std::vector<std::int64_t>{3, 2, 64}));
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(second.data), second.bytes), std::string(216, 'b'));
  EXPECT_EQ(file->tensors().at("first").data[0], std::byte{'a'});
}

TEST(Gguf, OtherAlignmentsAndUnpaddedEndsAreRead) {
  for (const std::uint32_t alignment : {8u, 64u, 4096u}) {
    GgufBytes file = sound();
    file.alignment = alignment;
    file.set("general.alignment", u32(alignment));
    const std::string bytes = file.bytes();
    EXPECT_EQ(GgufFile::parse(bytes, "x")->tensors().at("second").data[215], std::byte{'b'});
  }
  std::string bytes = sound().bytes();
  bytes.resize(bytes.size() - 8);  // 216 bytes of the last tensor are padded to 224
  EXPECT_EQ(GgufFile::parse(bytes, "x")->tensors().size(), 2u);
  EXPECT_TRUE(error_of([&] { GgufFile::parse(bytes.substr(0, bytes.size() - 1), "x"); }).thrown);
}

struct BrokenCase {
  const char* name;
  std::function<void(GgufBytes&)> breaks;
  std::vector<std::string> parts;  // of the message
  ErrorCode code = ErrorCode::kCorrupt;
};

const std::vector<BrokenCase>& broken_cases() {
  constexpr auto kUnsupported = ErrorCode::kUnsupported;
  static const std::vector<BrokenCase> kCases = {
      {"magic", [](auto& f) { f.magic = "GGUX"; }, {"begins with \"GGUF\", got \"GGUX\""}},
      {"ggml", [](auto& f) { f.magic = "lmgg"; }, {"begins with \"GGUF\""}},
      {"version 0", [](auto& f) { f.version = 0; }, {"version 3, got 0"}, kUnsupported},
      {"version 1", [](auto& f) { f.version = 1; }, {"version 3, got 1"}, kUnsupported},
      {"version 2", [](auto& f) { f.version = 2; }, {"version 3, got 2"}, kUnsupported},
      {"version 4", [](auto& f) { f.version = 4; }, {"version 3, got 4"}, kUnsupported},
      {"big-endian", [](auto& f) { f.version = 0x03000000; }, {"little-endian", "big-endian"}, kUnsupported},
      {"more tensors than bytes", [](auto& f) { f.num_tensors = 1 << 20; }, {"number of tensors: expected at most"}},
      {"absurd tensors", [](auto& f) { f.num_tensors = INT64_MAX; }, {"number of tensors"}},
      {"absurd values", [](auto& f) { f.num_values = INT64_MAX; }, {"number of metadata values"}},
      {"a value too many", [](auto& f) { f.num_values = 9; }, {"x.gguf"}},
      {"a value too few", [](auto& f) { f.num_values = 7; }, {"x.gguf"}},
      {"a tensor too many", [](auto& f) { f.num_tensors = 3; }, {"x.gguf"}},
      {"a tensor too few", [](auto& f) { f.num_tensors = 1; }, {"by its tensors, got"}},
      {"empty key", [](auto& f) { f.values[1].first = ""; }, {"metadata key 2 of 8", "got 0 bytes"}},
      {"key with a space", [](auto& f) { f.values[1].first = "a b"; }, {"printable ASCII", "\"a b\""}},
      {"key with an escape", [](auto& f) { f.values[1].first = "a\033[2J"; }, {"printable ASCII", "\\x1b"}},
      {"key not ASCII", [](auto& f) { f.values[1].first = "\xc3\xa9"; }, {"printable ASCII"}},
      {"long key", [](auto& f) { f.values[1].first = std::string(65'536, 'k'); }, {"got 65536 bytes"}},
      {"key twice", [](auto& f) { f.values[2].first = "a.u8"; }, {"a.u8: expected every key once"}},
      {"value type 13",
       [](auto& f) { f.values[1].second = le(13u) + le(0u); },
       {"a.u8: expected a value of a known type, got type 13"}},
      {"value type 2^32 - 1", [](auto& f) { f.values[1].second = le(~0u); }, {"known type"}},
      {"bool 2", [](auto& f) { f.set("a.bool", boolean(2)); }, {"a.bool: expected a boolean of 0 or 1, got 2"}},
      {"bool 255 in an array",
       [](auto& f) { f.set("a.bool", array_head(7, 2) + "\x01\xff"); },
       {"boolean of 0 or 1, got 255"}},
      {"string past the end",
       [](auto& f) { f.set("z", le(8u) + le(std::uint64_t{1} << 30) + "x"); },
       {"z: expected 1073741824 bytes"}},
      {"string of 2^64 - 1",
       [](auto& f) { f.set("z", le(8u) + le(~std::uint64_t{0})); },
       {"z: expected 18446744073709551615 bytes"}},
      {"key past the end",
       [](auto& f) {
         f.values.emplace_back("", "");
         f.values.back().second = le(~std::uint64_t{0});
       },
       {"x.gguf"}},
      {"array of arrays",
       [](auto& f) { f.set("a.texts", array_head(9, 1) + le(4u) + le(std::uint64_t{0})); },
       {"a.texts: expected no array of arrays"}},
      {"array of type 77",
       [](auto& f) { f.set("a.texts", array_head(77, 0)); },
       {"a.texts: expected elements of a known type, got type 77"}},
      {"array past the end",
       [](auto& f) { f.set("a.numbers", array_head(5, 1 << 20)); },
       {"a.numbers: expected at most the", "1048576"}},
      {"array of 2^62 u64",
       [](auto& f) { f.set("a.numbers", array_head(10, std::uint64_t{1} << 62)); },
       {"a.numbers", "elements that fit"}},
      {"array of 2^61 strings",
       [](auto& f) { f.set("a.texts", array_head(8, std::uint64_t{1} << 61)); },
       {"a.texts", "strings that fit"}},
      {"array with a long string",
       [](auto& f) { f.set("a.texts", array_head(8, 1) + le(std::uint64_t{1} << 63)); },
       {"a.texts"}},
      {"alignment 0",
       [](auto& f) { f.set("general.alignment", u32(0)); },
       {"general.alignment: expected a power of two from 8 to 65536, got 0"}},
      {"alignment 1", [](auto& f) { f.set("general.alignment", u32(1)); }, {"general.alignment"}},
      {"alignment 24", [](auto& f) { f.set("general.alignment", u32(24)); }, {"power of two", "got 24"}},
      {"alignment 2^31", [](auto& f) { f.set("general.alignment", u32(1u << 31)); }, {"general.alignment"}},
      {"alignment -32", [](auto& f) { f.set("general.alignment", i32(-32)); }, {"general.alignment", "got -32"}},
      {"alignment text", [](auto& f) { f.set("general.alignment", text("32")); }, {"general.alignment", "got \"32\""}},
      {"alignment of another file",
       [](auto& f) { f.set("general.alignment", u32(64)); },
       {"tensor second: expected an offset that is a multiple of 64, got 32"}},
      {"empty tensor name",
       [](auto& f) { f.tensors[0].name = ""; },
       {"tensor 1 of 2: expected a name of 1 to 64 bytes"}},
      {"long tensor name",
       [](auto& f) { f.tensors[0].name = std::string(65, 'n'); },
       {"tensor 1 of 2: expected a name of 1 to 64 bytes"}},
      {"tensor name not UTF-8", [](auto& f) { f.tensors[0].name = "\xff"; }, {"UTF-8"}},
      {"tensor name with a newline", [](auto& f) { f.tensors[0].name = "a\nb"; }, {"control characters"}},
      {"tensor twice", [](auto& f) { f.tensors[1].name = "first"; }, {"tensor first: expected every name once"}},
      {"rank 0", [](auto& f) { f.tensors[0].dims = {}; }, {"tensor first: expected 1 to 4 dimensions, got 0"}},
      {"rank 5",
       [](auto& f) {
         f.tensors[0].dims = {3, 2, 1, 1, 1};
       },
       {"tensor first: expected 1 to 4 dimensions, got 5"}},
      {"rank 2^32 - 1", [](auto& f) { f.tensors[0].rank = 0xffffffff; }, {"1 to 4 dimensions, got 4294967295"}},
      {"dimension 0",
       [](auto& f) {
         f.tensors[0].dims = {3, 0};
       },
       {"tensor first: expected dimensions of at least 1, got [0, 3]"}},
      {"dimension 2^63",
       [](auto& f) {
         f.tensors[0].dims = {3, 1ull << 63};
       },
       {"tensor first: expected dimensions of at least 1"}},
      {"type 4", [](auto& f) { f.tensors[0].type = 4; }, {"tensor first: expected a known type, got type 4"}},
      {"type 41", [](auto& f) { f.tensors[0].type = 41; }, {"tensor first: expected a known type, got type 41"}},
      {"half a block",
       [](auto& f) {
         f.tensors[1].dims = {48, 2, 3};
       },
       {"tensor second: expected rows of whole Q4_0 blocks of 32 values, got [3, 2, 48]"}},
      {"elements overflow",
       [](auto& f) {
         f.tensors[0].dims = {1ull << 32, 1ull << 32};
       },
       {"tensor first: size of F32 [4294967296, 4294967296] overflows"}},
      {"bytes overflow",
       [](auto& f) { f.tensors[0].dims = {1ull << 62}; },
       {"tensor first: size of F32 [4611686018427387904] overflows"}},
      {"offset not aligned",
       [](auto& f) { f.tensors[1].offset = 33; },
       {"tensor second: expected an offset that is a multiple of 32, got 33"}},
      {"overlap", [](auto& f) { f.tensors[1].offset = 0; }, {"overlaps another tensor"}},
      {"hole",
       [](auto& f) { f.tensors[1].offset = 64; },
       {"tensor second: expected to begin at offset 32, got 64: a hole"}},
      {"offset 2^64 - 32",
       [](auto& f) { f.tensors[1].offset = INT64_MAX - 31; },
       {"tensor second: expected to begin at offset 32"}},
      {"tensor past the end",
       [](auto& f) {
         f.tensors[1].dims = {64, 2, 300};
       },
       {"tensor second: expected 21600 bytes at offset 32", "truncated?"}},
      {"more data than tensors", [](auto& f) { f.tail = "x"; }, {"expected a file of at most", "by its tensors"}},
      {"a page too much", [](auto& f) { f.tail = std::string(4096, '\0'); }, {"expected a file of at most"}},
      {"wrong type", [](auto& f) { f.tensors[1].type = 8; }, {"tensor second: expected 408 bytes"}},
      {"wrong dimension",
       [](auto& f) {
         f.tensors[0].dims = {3, 20};
       },
       {"tensor second: expected to begin at offset 256, got 32: it overlaps"}},
  };
  return kCases;
}

TEST(Gguf, BrokenFilesAreRefusedByFileAndRule) {
  EXPECT_GE(broken_cases().size(), 60u);
  for (const BrokenCase& broken : broken_cases()) {
    SCOPED_TRACE(broken.name);
    GgufBytes file = sound();
    broken.breaks(file);
    const std::string bytes = file.bytes();
    const ErrorSeen seen = error_of([&] { GgufFile::parse(bytes, "x.gguf"); });
    EXPECT_TRUE(seen.thrown);
    EXPECT_EQ(seen.code, broken.code) << seen.message;
    EXPECT_TRUE(seen.mentions("x.gguf: ") || seen.mentions("x.gguf:\n")) << seen.message;
    for (const std::string& part : broken.parts)
      EXPECT_TRUE(seen.mentions(part)) << part << " is not in: " << seen.message;
  }
}

TEST(Gguf, EveryPrefixIsRefused) {
  const std::string bytes = sound().bytes();
  for (std::size_t n = 0; n + 8 < bytes.size(); ++n) {
    EXPECT_TRUE(error_of([&] { GgufFile::parse(std::string(bytes, 0, n), "x"); }).thrown) << n;
  }
}

/// Every byte of the header changed in every bit: an error, or a file whose tensors lie inside it.
TEST(Gguf, ChangedBitsNeverLeadOutOfTheFile) {
  const GgufBytes file = sound();
  std::string bytes = file.bytes();
  for (std::size_t i = 0; i < file.header().size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] = static_cast<char>(bytes[i] ^ 1 << bit);
      error_of([&] {
        const auto parsed = GgufFile::parse(bytes, "x");
        for (const auto& [name, tensor] : parsed->tensors()) {
          const auto begin = static_cast<std::size_t>(tensor.data - reinterpret_cast<const std::byte*>(bytes.data()));
          ASSERT_LE(begin + tensor.bytes, bytes.size());
        }
      });
      bytes[i] = static_cast<char>(bytes[i] ^ 1 << bit);
    }
  }
}

// --- models in several files -----------------------------------------------------------------------------------------

/// sound() cut in two.
class SplitGguf : public testing::Test {
 protected:
  SplitGguf() {
    first.tensors.pop_back();
    second.tensors.erase(second.tensors.begin());
    second.values.clear();
    first.set("split.no", u16(0)).set("split.count", u16(2)).set("split.tensors.count", i32(2));
    second.set("split.no", u16(1)).set("split.count", u16(2)).set("split.tensors.count", i32(2));
  }
  std::filesystem::path path(int i) const { return dir / ("m-0000" + std::to_string(i) + "-of-00002.gguf"); }
  void write() const {
    put_bytes(path(1), first.bytes());
    put_bytes(path(2), second.bytes());
  }
  void expect_refused(const std::vector<std::string>& parts, ErrorCode code = ErrorCode::kCorrupt) const {
    write();
    const ErrorSeen seen = error_of([&] { GgufFile::open(path(1)); });
    EXPECT_EQ(seen.code, code) << seen.message;
    for (const std::string& part : parts) EXPECT_TRUE(seen.mentions(part)) << part << " is not in: " << seen.message;
  }

  TempDir dir;
  GgufBytes first = sound(), second = sound();
};

TEST_F(SplitGguf, AnyPartNamesTheWholeModel) {
  write();
  for (const int i : {1, 2}) {
    const auto file = GgufFile::open(path(i));
    EXPECT_EQ(file->parts().size(), 2u);
    EXPECT_EQ(file->tensors().size(), 2u);
    EXPECT_EQ(file->tensors().at("second").part, 1u);
    EXPECT_EQ(file->find("a.i32")->integer(), -5);
  }
  EXPECT_TRUE(is_gguf(path(1)));
  EXPECT_FALSE(is_gguf(dir.path()));
}

TEST_F(SplitGguf, PartsThatDoNotBelongTogetherAreRefused) {
  second.set("split.no", u16(2));
  expect_refused({path(2).string(), "split.no: expected 1, got 2"});
  second.set("split.no", u16(1)).set("split.count", u16(3));
  expect_refused({path(2).string(), "split.count: expected 2, got 3"});
  second.drop("split.count");
  expect_refused({path(2).string(), "split.count: expected 2, got nothing"});
  second.set("split.count", text("2"));
  expect_refused({path(2).string(), "split.count: expected an integer, got \"2\""});
  second.set("split.count", u16(2)).set("split.tensors.count", i32(7));
  expect_refused({"split.tensors.count: expected 2, the tensors of all parts, got 7"});
  second.set("split.tensors.count", i32(2)).tensors[0].name = "first";
  expect_refused({path(2).string(), "tensor first: also in " + path(1).string()});
  second.magic = "GGML";
  expect_refused({path(2).string(), "begins with"});
}

TEST_F(SplitGguf, NamesAndCountsMustAgree) {
  first.set("split.count", u16(3));
  expect_refused({"split.count: expected 2 by the name of the file, got 3"});
  first.drop("split.count");
  expect_refused({"split.count: expected 2 by the name of the file, got 1"});
  first.set("split.count", u16(0));
  expect_refused({"split.count: expected at least 1, got 0"});
  put_bytes(dir / "alone.gguf", first.set("split.count", u16(2)).bytes());
  EXPECT_TRUE(error_of([&] { GgufFile::open(dir / "alone.gguf"); }).mentions("split.count: expected 1 by the name"));
}

TEST_F(SplitGguf, MissingPartsAreNamed) {
  write();
  std::filesystem::remove(path(2));
  const ErrorSeen seen = error_of([&] { GgufFile::open(path(1)); });
  EXPECT_EQ(seen.code, ErrorCode::kNotFound);
  EXPECT_TRUE(seen.mentions(path(2).string())) << seen.message;
}

}  // namespace
}  // namespace kl
