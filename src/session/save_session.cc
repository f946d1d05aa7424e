#include <fmt/format.h>

#include <cstring>

#include "base/checksum.h"
#include "base/output_file.h"
#include "kl/error.h"
#include "kl/session.h"
#include "session/session_layout.h"

namespace kl {
namespace {

using Bytes = std::span<const std::byte>;

template <class T>
Bytes bytes_of(const T* data, std::size_t count) {
  return {reinterpret_cast<const std::byte*>(data), count * sizeof(T)};
}

/// What a section is made of, where it lies in memory.
class Section {
 public:
  void add(Bytes bytes) {
    pieces_.push_back(bytes);
    size_ += bytes.size();
  }
  /// Zeros up to the next border.
  void pad() {
    static constexpr std::array<std::byte, kSectionAlignment> kZeros{};
    add({kZeros.data(), padded(size_) - size_});
  }

  std::uint64_t checksum() const {
    Checksum sum;
    for (const Bytes piece : pieces_) sum.update(piece);
    return sum.value();
  }
  void write_to(OutputFile& file) const {
    for (const Bytes piece : pieces_) file.write(piece.data(), piece.size());
  }

 private:
  std::vector<Bytes> pieces_;
  std::size_t size_ = 0;
};

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "session: expected " + what);
}

/// Calls f(first row, rows) for every block of a cache.
template <class F>
void for_each_block(const MlaCache& cache, F&& f) {
  for (std::int64_t pos = 0; pos < cache.num_tokens(); pos += kKeyBlock)
    f(cache.row(pos), std::min<std::int64_t>(kKeyBlock, cache.num_tokens() - pos));
}

/// Whether all rows of `shorter` are the first rows of `longer`: by address, else by contents.
bool is_beginning_of(const MlaCache& shorter, const MlaCache& longer) {
  bool same = true;
  std::int64_t pos = 0;
  for_each_block(shorter, [&](const std::byte* rows, std::int64_t count) {
    const std::byte* other = longer.row(pos);
    const auto bytes = static_cast<std::size_t>(count * shorter.format().row_bytes());
    same = same && (rows == other || std::memcmp(rows, other, bytes) == 0);
    pos += count;
  });
  return same;
}

void check(const SequenceState& empty, const SessionParts& parts) {
  const auto& own = Internals::of(empty).owner;
  std::int64_t before = 0;
  for (const SequenceState* state : parts.checkpoints) {
    if (state == nullptr || !state->has_value() || Internals::of(*state).owner != own)
      refuse("states of this model, got another");
    if (state->num_tentative() > 0 || !state->is_settled())
      refuse("states after keep() and Model::settle(), got tokens that are not written yet");
    if (state->num_tokens() <= before)
      refuse(fmt::format("checkpoints of more and more tokens, got {} after {}", state->num_tokens(), before));
    before = state->num_tokens();
  }
  if (before > static_cast<std::int64_t>(parts.text.size()))
    refuse(fmt::format("checkpoints of at most {} tokens, got one of {}", parts.text.size(), before));
  for (const SequenceState* state : parts.checkpoints) {
    const auto &layers = Internals::of(*state).layers, &last = Internals::of(*parts.checkpoints.back()).layers;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto* mla = std::get_if<MlaCache>(&layers[i]);
      if (mla != nullptr && !is_beginning_of(*mla, std::get<MlaCache>(last[i])))
        refuse(fmt::format("checkpoints of one text, got one of {} tokens that is no beginning of the last",
                           state->num_tokens()));
    }
  }
}

void add_states(std::span<const SequenceState* const> checkpoints, Section& section) {
  for (const SequenceState* state : checkpoints) {
    for (const LayerCache& layer : Internals::of(*state).layers) {
      const auto* kda = std::get_if<KdaCache>(&layer);
      if (kda == nullptr) continue;
      for (const AlignedBuffer* buffer : {&kda->S, &kda->conv}) {
        section.add(bytes_of(buffer->data(), buffer->size()));
        section.pad();
      }
    }
  }
}

void add_latents(const SequenceState& last, Section& section) {
  for (const LayerCache& layer : Internals::of(last).layers) {
    const auto* mla = std::get_if<MlaCache>(&layer);
    if (mla == nullptr) continue;
    for_each_block(*mla, [&](const std::byte* rows, std::int64_t count) {
      section.add({rows, static_cast<std::size_t>(count * mla->format().row_bytes())});
    });
    section.pad();
  }
}

}  // namespace

std::size_t save_session(const std::filesystem::path& path, const Model& model, const SessionParts& parts) {
  const SequenceState empty = model.make_cache();
  check(empty, parts);
  const std::string& fingerprint = model.fingerprint();
  std::vector<std::uint64_t> lengths;
  for (const SequenceState* state : parts.checkpoints)
    lengths.push_back(static_cast<std::uint64_t>(state->num_tokens()));
  std::vector<Token> tokens;
  std::vector<std::uint8_t> forms;
  for (const ReadToken t : parts.text) {
    tokens.push_back(t.token());
    forms.push_back(t.form() == MlaForm::kExpanded ? 1 : 0);
  }

  std::array<Section, kNumSections> sections;
  const auto section = [&](SessionSection s) -> Section& { return sections[static_cast<std::size_t>(s)]; };
  section(SessionSection::kFingerprint).add(bytes_of(fingerprint.data(), fingerprint.size()));
  section(SessionSection::kNote).add(bytes_of(parts.note.data(), parts.note.size()));
  section(SessionSection::kTokens).add(bytes_of(tokens.data(), tokens.size()));
  section(SessionSection::kForms).add(bytes_of(forms.data(), forms.size()));
  section(SessionSection::kCheckpoints).add(bytes_of(lengths.data(), lengths.size()));
  add_states(parts.checkpoints, section(SessionSection::kStates));
  if (!parts.checkpoints.empty()) add_latents(*parts.checkpoints.back(), section(SessionSection::kLatents));

  SessionHeader header;
  header.fingerprint_bytes = fingerprint.size();
  header.note_bytes = parts.note.size();
  header.num_tokens = parts.text.size();
  header.num_checkpoints = lengths.size();
  header.num_rows = lengths.empty() ? 0 : lengths.back();
  header.file_bytes = SessionLayout(header, StateShape(Internals::of(empty))).borders.back();
  for (std::size_t i = 0; i < kNumSections; ++i) {
    sections[i].pad();
    header.checksums[i] = sections[i].checksum();
  }
  header.header_checksum = checksum_of(bytes_of(&header, 1).first(offsetof(SessionHeader, header_checksum)));

  OutputFile file(path);
  file.write(&header, sizeof header);
  for (const Section& s : sections) s.write_to(file);
  file.commit(/*read_soon=*/true);
  return header.file_bytes;
}

}  // namespace kl
