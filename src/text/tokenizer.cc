#include "kl/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "kl/error.h"
#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/text_segments.h"
#include "text/tokenizer_files.h"

namespace kl {

namespace {

/// Encodes one text: cut it if it is long, cut at control tokens if asked, pre-tokenise the parts, BPE the pieces.
class TextEncoder {
 public:
  TextEncoder(const TokenizerFiles& files, std::size_t text_bytes, std::vector<Token>& ids)
      : files_(files), bpe_(files.vocabulary, text_bytes, ids), ids_(ids) {}

  /// REQUIRES: `text` is well-formed UTF-8.
  void append_text(std::string_view text, SpecialText special) {
    TextSegments segments(text);
    for (std::string_view segment = segments.next(); !segment.empty(); segment = segments.next()) {
      if (special == SpecialText::kControl) {
        append_with_control(segment);
      } else {
        append_ordinary(segment);
      }
    }
  }

  /// Any bytes, as one piece (or several, beyond a size that no text has).
  void append_piece(std::string_view bytes) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), BpeEncoder::kMaxPieceBytes))) {
      bpe_.append(bytes.substr(0, BpeEncoder::kMaxPieceBytes));
    }
  }

 private:
  void append_ordinary(std::string_view text) {
    while (!text.empty()) {
      const std::size_t bytes = first_piece(text);
      bpe_.append(text.substr(0, bytes));
      text.remove_prefix(bytes);
    }
  }

  void append_with_control(std::string_view text) {
    for (std::size_t from = 0; from < text.size();) {
      const ControlTokens::Match match = files_.control.find_in(text, from);
      append_ordinary(text.substr(from, match.position - from));
      if (match.bytes != 0) ids_.push_back(match.id);
      from = match.position + match.bytes;
    }
  }

  const TokenizerFiles& files_;
  BpeEncoder bpe_;
  std::vector<Token>& ids_;
};

/// Room for the ids of most texts: languages far from the vocabulary need more than one id for four bytes.
std::vector<Token> ids_for(std::string_view text) {
  std::vector<Token> ids;
  ids.reserve(text.size() / 4 + 4);
  return ids;
}

}  // namespace

Tokenizer Tokenizer::open(const std::filesystem::path& dir) { return Tokenizer(read_tokenizer_files(dir)); }

Tokenizer::Tokenizer(TokenizerFiles files) : files_(std::make_unique<const TokenizerFiles>(std::move(files))) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<Token> Tokenizer::encode(std::string_view text, SpecialText special) const {
  std::string replaced;
  if (well_formed_prefix(text) != text.size()) text = replaced = replace_ill_formed(text);
  std::vector<Token> ids = ids_for(text);
  TextEncoder(*files_, text.size(), ids).append_text(text, special);
  return ids;
}

std::vector<Token> Tokenizer::encode_bytes(std::string_view bytes) const {
  std::vector<Token> ids = ids_for(bytes);
  TextEncoder encoder(*files_, bytes.size(), ids);
  while (!bytes.empty()) {
    const std::size_t good = well_formed_prefix(bytes);
    encoder.append_text(bytes.substr(0, good), SpecialText::kOrdinary);
    bytes.remove_prefix(good);
    std::size_t bad = 0;
    while (bad < bytes.size()) {
      const Utf8Unit unit = next_utf8(bytes.substr(bad));
      if (unit.kind == Utf8Unit::Kind::kCharacter) break;
      bad += unit.bytes;
    }
    encoder.append_piece(bytes.substr(0, bad));
    bytes.remove_prefix(bad);
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const Token> ids, bool skip_special) const {
  std::string bytes;
  for (const Token id : ids) {
    const std::string_view piece = bytes_of(id);
    if (!skip_special || !is_skipped(id)) bytes += piece;
  }
  return replace_ill_formed(bytes);
}

std::string_view Tokenizer::bytes_of(Token id) const {
  if (0 <= id && id < num_ranks()) return files_->vocabulary.bytes_of(static_cast<std::uint32_t>(id));
  if (is_special(id)) return files_->control[id].name;
  throw Error(ErrorCode::kInvalidArgument, fmt::format("token id: expected 0 to {}, got {}", vocab_size() - 1, id));
}

bool Tokenizer::is_special(Token id) const { return files_->control.contains(id); }

bool Tokenizer::is_skipped(Token id) const { return is_special(id) && files_->control[id].is_skipped; }

int Tokenizer::vocab_size() const { return num_ranks() + static_cast<int>(files_->control.size()); }

int Tokenizer::num_ranks() const { return static_cast<int>(files_->vocabulary.size()); }

Token Tokenizer::special_id(std::string_view name) const { return files_->control.find(name); }

Tokenizer::SpecialPlace Tokenizer::find_special(std::string_view text, std::size_t from) const {
  const ControlTokens::Match match = files_->control.find_in(text, from);
  return {match.position, match.bytes, match.id};
}

std::span<const Token> Tokenizer::stop_tokens() const { return files_->stop_tokens; }

bool Tokenizer::has_chat_template() const { return files_->has_chat_template; }

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::push(Token id) {
  const std::string_view bytes = tokenizer_->bytes_of(id);
  if (skip_special_ && tokenizer_->is_skipped(id)) return {};
  pending_ += bytes;
  return take_certain(pending_);
}

std::string StreamDecoder::finish() {
  const std::string bytes = std::exchange(pending_, {});
  return replace_ill_formed(bytes);
}

}  // namespace kl
