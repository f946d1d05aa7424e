#pragma once
// Log-probabilities of a model at every scored position of a text, in 16 bits each: in memory and in a file.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/mapped_file.h"
#include "base/output_file.h"
#include "kl/tokenizer.h"

namespace kl {

/// log p of every token at one position.
///
///     log p[t] = -step code[t] - log sum exp(-step code)
struct CodedRow {
  float step = 0;
  Token top = 0;  ///< the likeliest token; the first of several
  float nll = 0;  ///< -log p of the token that came, exact
  std::span<const std::uint16_t> codes;
};

/// The largest distance from the greatest log-probability that is kept; what is further off is taken to be there.
/// 163,840 tokens of that probability have 2e-9 together.
inline constexpr float kCodedRange = 32;

/// Codes a distribution given as logits.
/// Shapes    logits, codes: [vocabulary].
/// Numerics  log p off by at most step / 2, step <= 32 / 65535.
CodedRow encode_row(std::span<const float> logits, float nll, std::vector<std::uint16_t>& codes);

/// What a base is of.  Two that are to be compared must agree in all of it.
struct ScoredText {
  std::int32_t vocab_size = 0;
  std::int32_t context = 0, stride = 0, bos = 0;
  std::int64_t window_positions = 0;  ///< scored in each window
  std::int64_t windows = 0;
  std::vector<Token> tokens;  ///< of the whole text
};

/// Writes a base: a head with the tokens, then window after window, each with a checksum, so that it can be read as it is
/// needed.  The file appears when it is complete.
class BaseWriter {
 public:
  BaseWriter(const std::filesystem::path& path, const ScoredText& text);
  void write(const CodedRow& row);  ///< of the next position
  void finish();

 private:
  void put(const void* data, std::size_t bytes);
  void end_block();

  OutputFile file_;
  std::int64_t window_positions_, in_window_ = 0;
  std::uint64_t sum_;
};

/// Reads what BaseWriter wrote, each window checked when its first position is asked for.
class BaseReader {
 public:
  /// Throws Error(kNotFound | kCorrupt): no such file, none of ours, of a newer version, damaged, or of another text,
  /// vocabulary or setting than `text`.
  BaseReader(const std::filesystem::path& path, const ScoredText& text);

  /// The row of the next position.  Throws Error(kCorrupt) where a window is damaged.
  CodedRow next();

 private:
  void check_window() const;

  std::unique_ptr<const MappedFile> file_;
  std::size_t row_bytes_, window_positions_;
  std::size_t at_ = 0, in_window_ = 0;
  std::int32_t vocab_size_;
};

}  // namespace kl
