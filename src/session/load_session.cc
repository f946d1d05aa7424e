#include "session/load_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>

#include "base/checksum.h"
#include "base/mapped_file.h"
#include "base/printable.h"
#include "kl/error.h"
#include "session/session_layout.h"

namespace kl {
namespace {

/// One file being read: every check throws an Error that begins with its name.
class SessionReader {
 public:
  SessionReader(std::shared_ptr<const void> owner, std::span<std::byte> bytes, const std::string& name,
                const Model& model)
      : owner_(std::move(owner)),
        bytes_(bytes),
        name_(name),
        model_(model),
        empty_(model.make_cache()),
        shape_(Internals::of(empty_)) {}

  SessionImage read() {
    read_header();
    check_fingerprint();
    if (!SessionLayout::fit_into(bytes_.size(), header_, shape_))
      refuse("counts that its size has room for, got others");
    layout_.emplace(header_, shape_);
    if (layout_->borders.back() != bytes_.size()) {
      refuse(fmt::format("{} bytes by its counts, got {}", layout_->borders.back(), bytes_.size()));
    }
    for (std::size_t i = 0; i < kNumSections; ++i) check_section(static_cast<SessionSection>(i));

    SessionImage image;
    image.note.assign(reinterpret_cast<const char*>(begin(SessionSection::kNote)), header_.note_bytes);
    image.text = text();
    const auto lengths = array<std::uint64_t>(SessionSection::kCheckpoints, header_.num_checkpoints);
    check_lengths(lengths);
    for (std::size_t i = 0; i < lengths.size(); ++i) image.checkpoints.push_back(checkpoint(i, lengths[i]));
    return image;
  }

 private:
  [[noreturn]] void refuse(const std::string& what, ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, fmt::format("{}: expected {}", name_, what));
  }

  void read_header() {
    if (bytes_.size() < sizeof header_) refuse(fmt::format("a saved session, got a file of {} bytes", bytes_.size()));
    std::memcpy(&header_, bytes_.data(), sizeof header_);
    if (header_.magic != kSessionMagic) refuse("a saved session, got a file of another kind");
    if (header_.version != kSessionVersion) {
      refuse(fmt::format("a session of version {}, got version {}", kSessionVersion, header_.version),
             ErrorCode::kUnsupported);
    }
    const std::uint64_t sum = checksum_of(bytes_.first(offsetof(SessionHeader, header_checksum)));
    if (sum != header_.header_checksum) refuse_sum("header", header_.header_checksum, sum);
    if (header_.file_bytes != bytes_.size()) {
      refuse(fmt::format("{} bytes by its header, got {}", header_.file_bytes, bytes_.size()));
    }
  }

  [[noreturn]] void refuse_sum(const char* part, std::uint64_t expected, std::uint64_t found) const {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: {}: expected checksum {:016x}, got {:016x}: the file is damaged",
                                                 name_, part, expected, found));
  }

  /// The first section lies behind the header whatever the model.  It is looked at before the others, whose sizes
  /// depend on the model.
  void check_fingerprint() {
    const std::size_t room = bytes_.size() - sizeof header_;
    if (header_.fingerprint_bytes > room || padded(header_.fingerprint_bytes) > room)
      refuse("a fingerprint inside the file, got one that ends behind it");
    const auto section = bytes_.subspan(sizeof header_, padded(header_.fingerprint_bytes));
    const std::uint64_t sum = checksum_of(section);
    if (sum != header_.checksums.front())
      refuse_sum(name_of(SessionSection::kFingerprint), header_.checksums.front(), sum);
    const std::string_view theirs(reinterpret_cast<const char*>(section.data()), header_.fingerprint_bytes);
    const std::string_view ours = model_.fingerprint();
    if (theirs == ours) return;
    // Both are lines NAME=VALUE: the first that differs says why.
    const auto at = std::mismatch(ours.begin(), ours.end(), theirs.begin(), theirs.end()).first - ours.begin();
    const std::size_t line = ours.rfind('\n', static_cast<std::size_t>(at) - (at > 0)) + 1;  // npos + 1 is 0
    const auto line_of = [line](std::string_view text) {
      text = text.substr(std::min(line, text.size()));
      return text.substr(0, text.find('\n'));
    };
    refuse(fmt::format("a session of this model and these flags, {}, got {}", line_of(ours),
                       printable(line_of(theirs), 80)),
           ErrorCode::kUnsupported);
  }

  void check_section(SessionSection s) const {
    const std::uint64_t expected = header_.checksums[static_cast<std::size_t>(s)];
    const std::uint64_t sum = checksum_of(bytes_.subspan(layout_->begin(s), layout_->bytes(s)));
    if (sum != expected) refuse_sum(name_of(s), expected, sum);
  }

  // What a file with true checksums may still get wrong is refused here.

  std::vector<ReadToken> text() const {
    const auto tokens = array<Token>(SessionSection::kTokens, header_.num_tokens);
    const auto forms = array<std::uint8_t>(SessionSection::kForms, header_.num_tokens);
    const Token vocab = model_.args().vocab_size;
    std::vector<ReadToken> text;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] < 0 || tokens[i] >= vocab) refuse(fmt::format("tokens in [0, {}), got {}", vocab, tokens[i]));
      if (forms[i] > 1) refuse(fmt::format("forms 0 or 1, got {}", forms[i]));
      text.emplace_back(tokens[i], forms[i] == 1 ? MlaForm::kExpanded : MlaForm::kAbsorbed);
    }
    return text;
  }

  void check_lengths(const std::vector<std::uint64_t>& lengths) const {
    std::uint64_t before = 0;
    for (const std::uint64_t length : lengths) {
      if (length <= before) refuse(fmt::format("checkpoints of more and more tokens, got {} after {}", length, before));
      before = length;
    }
    if (before != header_.num_rows)
      refuse(fmt::format("a last checkpoint of {} tokens, got one of {}", header_.num_rows, before));
  }

  std::byte* begin(SessionSection s) const { return bytes_.data() + layout_->begin(s); }

  template <class T>
  std::vector<T> array(SessionSection s, std::size_t count) const {
    const auto* first = reinterpret_cast<const T*>(begin(s));
    return {first, first + count};
  }

  /// A buffer that lies in the file.
  AlignedBuffer view(std::byte* at, std::size_t bytes) const {
    return {owner_, reinterpret_cast<float*>(at), bytes / sizeof(float)};
  }

  SequenceState checkpoint(std::size_t index, std::uint64_t length) const {
    std::byte* state = begin(SessionSection::kStates) + index * shape_.checkpoint_bytes();
    std::byte* rows = begin(SessionSection::kLatents);
    std::vector<LayerCache> layers;
    layers.reserve(Internals::of(empty_).layers.size());
    for (const LayerCache& layer : Internals::of(empty_).layers) {
      if (const auto* kda = std::get_if<KdaCache>(&layer)) {
        std::byte* conv = state + padded(shape_.S_bytes);
        layers.emplace_back(std::in_place_type<KdaCache>, *kda, view(state, shape_.S_bytes),
                            view(conv, shape_.conv_bytes));
        state = conv + padded(shape_.conv_bytes);
      } else {
        layers.emplace_back(latents(std::get<MlaCache>(layer), rows, length));
        rows += padded(header_.num_rows * shape_.row_bytes);
      }
    }
    return Internals::state(
        std::make_unique<StateImpl>(Internals::of(empty_).owner, std::move(layers), static_cast<std::int64_t>(length)));
  }

  /// Full blocks in the file; the last one, which the sequence will write to, a copy of its own.
  MlaCache latents(const MlaCache& empty, std::byte* rows, std::uint64_t length) const {
    const std::size_t block = empty.block_floats() * sizeof(float), bytes = length * shape_.row_bytes;
    std::vector<std::shared_ptr<AlignedBuffer>> blocks;
    blocks.reserve(bytes / block + 1);
    std::size_t at = 0;
    for (; at + block <= bytes; at += block) blocks.push_back(std::make_shared<AlignedBuffer>(view(rows + at, block)));
    if (at < bytes) {
      blocks.push_back(std::make_shared<AlignedBuffer>(empty.block_floats()));
      std::memcpy(blocks.back()->data(), rows + at, bytes - at);
    }
    return {empty.format(), std::move(blocks), static_cast<std::int64_t>(length)};
  }

  const std::shared_ptr<const void> owner_;
  const std::span<std::byte> bytes_;
  const std::string& name_;
  const Model& model_;
  const SequenceState empty_;
  const StateShape shape_;
  SessionHeader header_;
  std::optional<SessionLayout> layout_;
};

}  // namespace

SessionImage parse_session(std::shared_ptr<const void> owner, std::span<std::byte> bytes, const std::string& name,
                           const Model& model) {
  return SessionReader(std::move(owner), bytes, name, model).read();
}

SessionImage load_session(const std::filesystem::path& path, const Model& model) {
  try {
    const auto file = std::make_shared<MappedFile>(path, MapMode::kPrivate);
    if (file->size() > 0) bring_into_memory({file->data(), file->size()});
    return parse_session(file, {file->writable_data(), file->size()}, file->name(), model);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kOutOfMemory, path.string() + ": expected memory for a session, got none");
  }
}

}  // namespace kl
