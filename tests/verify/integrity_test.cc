#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "folder/checksums.h"
#include "kl/verify.h"
#include "tests/support/error_of.h"
#include "tests/support/mini_model.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

/// The smallest model with numbers drawn at random, a tokenizer that kl never looks into here, and checksums.
void write_folder(const TempDir& dir) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(1.0f, 0.2f);
  TestTensors tensors = mini_tensors();
  for (auto& [name, tensor] : tensors) {
    for (std::size_t at = 0; at < tensor.bytes.size(); at += 4) {
      const float x = normal(random);
      std::memcpy(tensor.bytes.data() + at, &x, 4);
    }
  }
  put_bytes(dir / "config.json", mini_args().to_json());
  put_bytes(dir / "tiktoken.model", "AA== 0\nAQ== 1\n");
  write_tensors(dir / "model.safetensors", tensors);
  write_checksums(dir.path());
}

/// In place: a file written anew would be flushed to disk each time.
void put_byte(const fs::path& path, std::size_t at, char byte) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(byte);
}

TEST(Integrity, AFolderAsItWasWrittenHasNothingToReport) {
  const TempDir dir;
  write_folder(dir);
  const IntegrityReport report = verify_integrity(dir.path());
  EXPECT_TRUE(report.findings.empty()) << report.findings.front().text;
  EXPECT_TRUE(report.has_checksums);
  EXPECT_EQ(report.files_hashed, 3);
}

TEST(Integrity, TenThousandOfTenThousandFlippedBitsAreFound) {
  const TempDir dir;
  write_folder(dir);
  std::vector<std::pair<fs::path, std::string>> files;
  for (const auto& entry : fs::directory_iterator(dir.path()))
    files.emplace_back(entry.path(), get_bytes(entry.path()));
  ASSERT_EQ(files.size(), 4u);  // SHA256SUMS as well
  std::mt19937 random(7);
  int found = 0;
  constexpr int kFlips = 10'000;
  for (int i = 0; i < kFlips; ++i) {
    const auto& [path, bytes] = files[static_cast<std::size_t>(i) % files.size()];
    const std::size_t bit = random() % (8 * bytes.size());
    put_byte(path, bit / 8, static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8)));
    const IntegrityReport report = verify_integrity(dir.path(), {.threads = 1, .progress = {}});
    const bool is_found = report.num_problems() > 0;
    EXPECT_TRUE(is_found) << path << " bit " << bit;
    found += is_found;
    put_byte(path, bit / 8, bytes[bit / 8]);
  }
  EXPECT_EQ(found, kFlips);
}

TEST(Integrity, ProgressEndsAtTheTotalAndMayStopTheWork) {
  const TempDir dir;
  write_folder(dir);
  std::int64_t last = 0, of = 1;
  verify_integrity(dir.path(), {.threads = 2, .progress = [&](std::string_view, std::int64_t done, std::int64_t total) {
                                  last = done;
                                  of = total;
                                }});
  EXPECT_EQ(last, of);
  struct Stop {};
  EXPECT_THROW(
      verify_integrity(dir.path(),
                       {.threads = 2, .progress = [](std::string_view, std::int64_t, std::int64_t) { throw Stop{}; }}),
      Stop);
}

TEST(Checksums, TheTextReadsBackWhateverTheNames) {
  const std::string digest(64, 'a');
  const std::vector<ChecksumLine> lines = {
      {digest, "config.json"}, {digest, "sub/a b"}, {digest, "back\\slash\nbreak"}};
  const std::string text = checksums_text(lines);
  EXPECT_NE(text.find("\n\\" + digest + "  back\\\\slash\\nbreak\n"), std::string::npos) << text;
  const std::vector<ChecksumLine> again = parse_checksums(text, "S");
  ASSERT_EQ(again.size(), lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(again[i].file, lines[i].file);
  EXPECT_EQ(parse_checksums(digest + " *./x", "S").front().file, "x");
}

TEST(Checksums, EveryBrokenLineIsNamed) {
  const std::string digest(64, 'a');
  const std::pair<std::string, const char*> cases[] = {
      {"", "S: expected lines of checksums, got none"},
      {"abc  x\n", "S:1: expected 64 hexadecimal digits, two blanks and a name, got \"abc  x\""},
      {std::string(64, 'A') + "  x\n", "S:1: expected 64 hexadecimal digits"},
      {digest + " x\n", "S:1: expected 64 hexadecimal digits"},
      {digest + "  \n", "S:1: expected a name"},
      {digest + "  /etc/passwd\n", "S:1: expected a name inside the folder"},
      {digest + "  a/../../b\n", "S:1: expected a name inside the folder"},
      {digest + "  x\r\n", "S:1: expected a name without control characters"},
      {digest + "  x\n" + digest + "  x\n", "S:2: expected each name once"},
  };
  for (const auto& [text, message] : cases) {
    const ErrorSeen seen = error_of([&, &of = text] { parse_checksums(of, "S"); });
    EXPECT_TRUE(seen.thrown && seen.mentions(message)) << seen.message;
  }
}

}  // namespace
}  // namespace kl
