#include "evaluation/saved_probabilities.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "evaluation/distribution.h"
#include "kl/error.h"

namespace kl {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr char kMagic[8] = {'k', 'l', ' ', 'b', 'a', 's', 'e', '\n'};
constexpr std::int32_t kVersion = 1;
constexpr std::uint64_t kFirstSum = 0x9e3779b97f4a7c15;
constexpr float kMostCode = 65535;

struct FileHead {
  char magic[8];
  std::int32_t version, vocab_size, context, stride, bos, zero;
  std::int64_t window_positions, windows, tokens;
};
static_assert(sizeof(FileHead) == 56);

/// The numbers of a row before its codes.
struct RowHead {
  float step;
  Token top;
  float nll;
};

/// Continues a checksum: every bit of the data reaches every bit above it, and the shift those below.
std::uint64_t checksum(std::uint64_t sum, const void* data, std::size_t bytes) {
  const auto* from = static_cast<const std::byte*>(data);
  for (; bytes > 0;) {
    std::uint64_t word = 0;
    const std::size_t n = std::min<std::size_t>(bytes, sizeof word);
    std::memcpy(&word, from, n);
    sum = (sum ^ word ^ n) * 0xff51afd7ed558ccd;
    sum ^= sum >> 32;
    from += n;
    bytes -= n;
  }
  return sum;
}

constexpr std::size_t row_bytes(std::int32_t vocab_size) {
  return sizeof(RowHead) + sizeof(std::uint16_t) * static_cast<std::size_t>(vocab_size);
}

[[noreturn]] void fail(const std::string& name, const std::string& problem) {
  throw Error(ErrorCode::kCorrupt, name + ": expected " + problem);
}

void require_same(const std::string& name, const char* what, std::int64_t expected, std::int64_t got) {
  if (expected != got) fail(name, fmt::format("a base with {} {}, got {}", what, expected, got));
}

}  // namespace

CodedRow encode_row(std::span<const float> logits, float nll, std::vector<std::uint16_t>& codes) {
  const Token top = likeliest(logits);
  const float most = logits[static_cast<std::size_t>(top)];
  const float range = std::min(most - *std::min_element(logits.begin(), logits.end()), kCodedRange);
  CodedRow row{.step = range / kMostCode, .top = top, .nll = nll, .codes = {}};
  codes.resize(logits.size());
  const float inverse = range > 0 ? kMostCode / range : 0;
  for (std::size_t t = 0; t < logits.size(); ++t) {
    codes[t] = static_cast<std::uint16_t>(std::min((most - logits[t]) * inverse + 0.5f, kMostCode));
  }
  row.codes = codes;
  return row;
}

BaseWriter::BaseWriter(const std::filesystem::path& path, const ScoredText& text)
    : file_(path), window_positions_(text.window_positions), sum_(kFirstSum) {
  FileHead head{{},       kVersion, text.vocab_size,       text.context, text.stride,
                text.bos, 0,        text.window_positions, text.windows, static_cast<std::int64_t>(text.tokens.size())};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  put(&head, sizeof head);
  put(text.tokens.data(), text.tokens.size() * sizeof(Token));
  end_block();
}

void BaseWriter::put(const void* data, std::size_t bytes) {
  sum_ = checksum(sum_, data, bytes);
  file_.write(data, bytes);
}

void BaseWriter::end_block() {
  file_.write(&sum_, sizeof sum_);
  sum_ = kFirstSum;
}

void BaseWriter::write(const CodedRow& row) {
  const RowHead head{row.step, row.top, row.nll};
  put(&head, sizeof head);
  put(row.codes.data(), row.codes.size_bytes());
  if (++in_window_ < window_positions_) return;
  in_window_ = 0;
  end_block();
}

void BaseWriter::finish() { file_.commit(); }

BaseReader::BaseReader(const std::filesystem::path& path, const ScoredText& text)
    : file_(std::make_unique<const MappedFile>(path)),
      row_bytes_(row_bytes(text.vocab_size)),
      window_positions_(static_cast<std::size_t>(text.window_positions)),
      vocab_size_(text.vocab_size) {
  const std::string& name = file_->name();
  FileHead head{};
  const std::size_t size = file_->size();
  if (size >= sizeof head) std::memcpy(&head, file_->data(), sizeof head);
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) {
    fail(name, "a base saved by kl perplexity, got something else");
  }
  if (head.version != kVersion) fail(name, fmt::format("version {}, got {}", kVersion, head.version));
  require_same(name, "a vocabulary of", text.vocab_size, head.vocab_size);
  require_same(name, "a context of", text.context, head.context);
  require_same(name, "a stride of", text.stride, head.stride);
  require_same(name, "beginning-of-text tokens (1) or none (0):", text.bos, head.bos);
  const std::size_t token_bytes = text.tokens.size() * sizeof(Token);
  const bool same_size = head.tokens == static_cast<std::int64_t>(text.tokens.size());
  if (!same_size || size < sizeof head + token_bytes ||
      std::memcmp(file_->data() + sizeof head, text.tokens.data(), token_bytes) != 0) {
    fail(name, fmt::format("a base of this text of {} tokens, got one of another, of {} tokens", text.tokens.size(),
                           head.tokens));
  }
  at_ = sizeof head + token_bytes;
  const std::size_t blocks = window_positions_ * row_bytes_ + sizeof(std::uint64_t);
  const std::size_t whole = at_ + sizeof(std::uint64_t) + static_cast<std::size_t>(text.windows) * blocks;
  if (size != whole) fail(name, fmt::format("{} bytes, got {}: the file is damaged", whole, size));
  std::uint64_t sum = 0;
  std::memcpy(&sum, file_->data() + at_, sizeof sum);
  if (sum != checksum(kFirstSum, file_->data(), at_))
    fail(name, "its checksum at the head, got another: it is damaged");
  at_ += sizeof sum;
}

/// Compares the checksum of the window that begins here.
void BaseReader::check_window() const {
  std::uint64_t sum = kFirstSum, saved = 0;
  const std::byte* data = file_->data() + at_;
  for (std::size_t i = 0; i < window_positions_; ++i) {  // in the pieces in which it was written
    sum = checksum(sum, data, sizeof(RowHead));
    sum = checksum(sum, data + sizeof(RowHead), row_bytes_ - sizeof(RowHead));
    data += row_bytes_;
  }
  std::memcpy(&saved, data, sizeof saved);
  if (sum != saved) fail(file_->name(), fmt::format("its checksum at byte {}, got another: the file is damaged", at_));
}

CodedRow BaseReader::next() {
  if (in_window_ == 0) check_window();
  RowHead head{};
  const std::byte* data = file_->data() + at_;
  std::memcpy(&head, data, sizeof head);
  // Tokens and rows are multiples of 2 bytes, so codes are aligned.
  const auto* codes = reinterpret_cast<const std::uint16_t*>(data + sizeof head);
  at_ += row_bytes_;
  if (++in_window_ == window_positions_) {
    in_window_ = 0;
    at_ += sizeof(std::uint64_t);
  }
  return {head.step, head.top, head.nll, {codes, static_cast<std::size_t>(vocab_size_)}};
}

}  // namespace kl
