// A saved session continues bit for bit, and a file that is not the one that was saved is refused.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/aligned_buffer.h"
#include "base/checksum.h"
#include "kl/session.h"
#include "session/load_session.h"
#include "session/session_layout.h"
#include "tests/model/recorder.h"
#include "tests/support/error_of.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

namespace kl {
namespace {

Model open_tiny(ModelOptions options = {}, const char* name = "tiny") {
  options.threads = 1;
  return Model::open(std::filesystem::path(KL_SOURCE_DIR) / "tests/golden/oracle" / name, options);
}

std::vector<Token> random_tokens(std::size_t count, const Model& model, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(count);
  for (Token& t : tokens) t = static_cast<Token>(random() % static_cast<unsigned>(model.args().vocab_size));
  return tokens;
}

/// A text read in pieces, with a state kept after each of them.
struct Conversation {
  std::vector<ReadToken> text;
  std::vector<SequenceState> states;
  std::string note = R"({"messages": []})";

  Conversation(Model& model, const std::vector<std::size_t>& lengths, std::size_t unread = 3) {
    const std::vector<Token> tokens = random_tokens(lengths.back() + unread, model);
    for (const Token t : tokens)
      text.emplace_back(t,
                        text.size() % 3 == 0 && text.size() < lengths.back() ? MlaForm::kExpanded : MlaForm::kAbsorbed);
    SequenceState state = model.make_cache();
    std::size_t at = 0;
    for (const std::size_t length : lengths) {
      model.forward(state, std::span(tokens).subspan(at, length - at));
      at = length;
      states.push_back(state);
    }
  }

  std::vector<const SequenceState*> pointers() const {
    std::vector<const SequenceState*> all;
    for (const SequenceState& s : states) all.push_back(&s);
    return all;
  }
  std::size_t save(const std::filesystem::path& path, const Model& model) const {
    return save_session(path, model, {text, pointers(), note});
  }
};

/// Logits after each of a few steps, the last of which brings enough tokens for MLA's expanded form.
std::vector<std::vector<float>> continuation(Model& model, SequenceState state) {
  std::vector<std::vector<float>> all;
  unsigned seed = 7;
  for (const std::size_t count : {1u, 1u, 130u, 5u, 200u, 1u})
    all.push_back(model.forward(state, random_tokens(count, model, ++seed)));
  return all;
}

struct Setting {
  const char* name;
  CacheType cache;
  bool bf16_state;
};

class SessionRoundTrip : public testing::TestWithParam<Setting> {};

TEST_P(SessionRoundTrip, EveryCheckpointContinuesBitForBit) {
  for (const char* name : {"tiny", "headdims"}) {
    Model model = open_tiny({.cache_type = GetParam().cache, .bf16_state = GetParam().bf16_state}, name);
    const Conversation before(model, {1, 100, 128, 300, 301, 512});
    const TempDir dir;
    const std::size_t bytes = before.save(dir / "s", model);
    EXPECT_EQ(bytes, std::filesystem::file_size(dir / "s"));
    const SessionImage after = load_session(dir / "s", model);
    EXPECT_EQ(after.text, before.text);
    EXPECT_EQ(after.note, before.note);
    ASSERT_EQ(after.checkpoints.size(), before.states.size());
    for (std::size_t i = 0; i < before.states.size(); ++i) {
      EXPECT_EQ(after.checkpoints[i].num_tokens(), before.states[i].num_tokens());
      EXPECT_EQ(continuation(model, after.checkpoints[i]), continuation(model, before.states[i])) << name << ' ' << i;
    }
  }
}

TEST_P(SessionRoundTrip, ARestoredStateWritesToNoOther) {
  Model model = open_tiny({.cache_type = GetParam().cache, .bf16_state = GetParam().bf16_state});
  const Conversation before(model, {100, 200, 300});
  const TempDir dir;
  before.save(dir / "s", model);
  const std::string bytes = get_bytes(dir / "s");
  SessionImage after = load_session(dir / "s", model);
  model.forward(after.checkpoints[1], random_tokens(250, model, 3));  // in place, over the border of its block
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}})
    EXPECT_EQ(continuation(model, after.checkpoints[i]), continuation(model, before.states[i]));
  EXPECT_EQ(get_bytes(dir / "s"), bytes) << "the file itself";
}

INSTANTIATE_TEST_SUITE_P(Types, SessionRoundTrip,
                         testing::Values(Setting{"f32", CacheType::kF32, false},
                                         Setting{"bf16", CacheType::kBf16, false},
                                         Setting{"int8", CacheType::kInt8, false},
                                         Setting{"f32_bf16_state", CacheType::kF32, true},
                                         Setting{"int8_bf16_state", CacheType::kInt8, true}),
                         [](const auto& setting) { return setting.param.name; });

TEST(Session, SavingARestoredOneGivesTheSameBytes) {
  const Model model = open_tiny();
  const TempDir dir;
  {
    Model reader = open_tiny();
    Conversation(reader, {64, 200, 256}).save(dir / "a", reader);
  }
  for (const char* to : {"b", "a"}) {  // the second over the file that is mapped
    const SessionImage image = load_session(dir / "a", model);
    std::vector<const SequenceState*> states;
    for (const SequenceState& s : image.checkpoints) states.push_back(&s);
    save_session(dir / to, model, {image.text, states, image.note});
    EXPECT_EQ(get_bytes(dir / to), get_bytes(dir / "b"));
  }
}

TEST(Session, HoldsSharedLatentsOnce) {
  Model model = open_tiny();
  const TempDir dir;
  const std::size_t one = Conversation(model, {512}).save(dir / "one", model);
  const std::size_t four = Conversation(model, {509, 510, 511, 512}).save(dir / "four", model);
  const std::size_t state = StateShape(Internals::of(model.make_cache())).checkpoint_bytes();
  EXPECT_EQ(four, one + 3 * state) << "and 32 bytes of lengths fit where one did";
}

TEST(Session, MayHoldNoCheckpoint) {
  const Model model = open_tiny();
  const TempDir dir;
  const std::vector<ReadToken> text = {{1, MlaForm::kAbsorbed}, {2, MlaForm::kExpanded}, {3, MlaForm::kAbsorbed}};
  save_session(dir / "s", model, {text, {}, ""});
  const SessionImage image = load_session(dir / "s", model);
  EXPECT_EQ(image.text, text);
  EXPECT_TRUE(image.checkpoints.empty());
}

TEST(Session, RefusesPartsThatDoNotBelongTogether) {
  Model model = open_tiny(), other = open_tiny();
  Conversation c(model, {100, 200});
  const TempDir dir;
  const auto refused = [&](const char* what) {
    const ErrorSeen error = error_of([&] { c.save(dir / "s", model); });
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(error.mentions(what)) << error.message;
  };
  std::swap(c.states[0], c.states[1]);
  refused("more and more tokens");
  std::swap(c.states[0], c.states[1]);
  const SequenceState kept = c.states[0];
  c.states[0] = model.make_cache();
  model.forward(c.states[0], random_tokens(100, model, 99));
  refused("no beginning of the last");
  c.states[0] = other.make_cache();
  refused("states of this model");
  c.states[0] = {};
  refused("states of this model");
  c.states[0] = kept;
  const std::vector<Token> more = random_tokens(3, model, 98);
  const SequenceInput input{.state = &c.states[0], .tokens = more, .tentative = 2};
  test::Recorder recorder;
  model.forward({&input, 1}, recorder);
  refused("not written yet");
  c.states[0].keep(1);
  refused("not written yet");
  c.states[0] = kept;
  c.text.resize(150);
  refused("at most 150 tokens");
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

// --- files that are not what was saved -------------------------------------------------------------------------------

/// A saved session to break, and a fresh place for what becomes of it.
class BrokenSession : public testing::Test {
 protected:
  BrokenSession() : model(open_tiny()) {
    Conversation(model, {1, 130, 200}).save(dir / "good", model);
    good = get_bytes(dir / "good");
  }

  SessionImage parse(const std::string& bytes) const {
    const auto memory = std::make_shared<AlignedBuffer>(bytes.size() / sizeof(float) + 1);
    std::memcpy(memory->data(), bytes.data(), bytes.size());
    return parse_session(memory, {reinterpret_cast<std::byte*>(memory->data()), bytes.size()}, "FILE", model);
  }

  /// What reading these bytes throws; the name of the file must be in it.
  ErrorSeen refusal(const std::string& bytes) const {
    ErrorSeen error = error_of([&] { parse(bytes); });
    EXPECT_TRUE(error.thrown && error.message.starts_with("FILE: ")) << error.message;
    return error;
  }

  /// The same bytes with all checksums made true again: what a hostile hand would write.
  static std::string with_true_checksums(std::string bytes, const Model& model) {
    SessionHeader h;
    std::memcpy(&h, bytes.data(), sizeof h);
    const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
    const StateShape shape(Internals::of(model.make_cache()));
    if (SessionLayout::fit_into(bytes.size(), h, shape)) {
      const SessionLayout layout(h, shape);
      for (std::size_t i = 0; i < kNumSections; ++i)
        if (layout.borders[i + 1] <= bytes.size())
          h.checksums[i] = checksum_of({data + layout.borders[i], layout.borders[i + 1] - layout.borders[i]});
    }
    h.header_checksum = checksum_of({reinterpret_cast<const std::byte*>(&h), offsetof(SessionHeader, header_checksum)});
    std::memcpy(bytes.data(), &h, sizeof h);
    return bytes;
  }

  /// The header with one field changed, true again.
  template <class T>
  std::string with(T SessionHeader::*field, T value) const {
    std::string bytes = good;
    SessionHeader h;
    std::memcpy(&h, bytes.data(), sizeof h);
    h.*field = value;
    std::memcpy(bytes.data(), &h, sizeof h);
    return with_true_checksums(bytes, model);
  }

  SessionHeader header() const {
    SessionHeader h;
    std::memcpy(&h, good.data(), sizeof h);
    return h;
  }
  std::size_t begin(SessionSection s) const {
    return SessionLayout(header(), StateShape(Internals::of(model.make_cache()))).begin(s);
  }

  Model model;
  TempDir dir;
  std::string good;
};

TEST_F(BrokenSession, EveryFlippedBitIsFound) {
  std::mt19937 random(5);
  const auto flip = [&](std::size_t byte) {
    std::string bytes = good;
    bytes[byte] = static_cast<char>(bytes[byte] ^ 1 << random() % 8);
    const ErrorSeen error = refusal(bytes);
    EXPECT_TRUE(error.code == ErrorCode::kCorrupt || error.mentions("version")) << byte << ": " << error.message;
  };
  for (std::size_t byte = 0; byte < sizeof(SessionHeader); ++byte) flip(byte);
  for (std::size_t s = 0; s < kNumSections; ++s) flip(begin(static_cast<SessionSection>(s)));
  for (int i = 0; i < 2000; ++i) flip(random() % good.size());
  flip(good.size() - 1);
}

TEST_F(BrokenSession, DamageSaysWhichPart) {
  for (std::size_t s = 0; s < kNumSections; ++s) {
    const auto section = static_cast<SessionSection>(s);
    std::string bytes = good;
    bytes[begin(section)] ^= 1;
    EXPECT_TRUE(refusal(bytes).mentions(std::string(": ") + name_of(section) + ": expected checksum"));
  }
}

TEST_F(BrokenSession, EveryTruncationIsFound) {
  std::vector<std::size_t> lengths;
  for (std::size_t n = 0; n <= sizeof(SessionHeader); ++n) lengths.push_back(n);
  for (std::size_t s = 0; s < kNumSections; ++s)
    for (const int d : {-1, 0, 1})
      lengths.push_back(begin(static_cast<SessionSection>(s)) + static_cast<std::size_t>(d));
  for (std::size_t n = 1000; n < good.size(); n += good.size() / 50) lengths.push_back(n);
  lengths.push_back(good.size() - 1);
  for (const std::size_t n : lengths) {
    EXPECT_EQ(refusal(good.substr(0, n)).code, ErrorCode::kCorrupt) << n;
    if (n >= sizeof(SessionHeader)) {  // and if its header had told that length
      std::string bytes = good.substr(0, n);
      const std::uint64_t size = n;
      std::memcpy(bytes.data() + offsetof(SessionHeader, file_bytes), &size, sizeof size);
      EXPECT_EQ(refusal(with_true_checksums(bytes, model)).code, ErrorCode::kCorrupt) << n;
    }
  }
  EXPECT_EQ(refusal(good + '\0').code, ErrorCode::kCorrupt);
}

TEST_F(BrokenSession, CountsOfAHostileHandAreHeldAgainstTheFile) {
  for (const auto field : {&SessionHeader::file_bytes, &SessionHeader::fingerprint_bytes, &SessionHeader::note_bytes,
                           &SessionHeader::num_tokens, &SessionHeader::num_checkpoints, &SessionHeader::num_rows}) {
    const std::uint64_t now = header().*field;
    for (const std::uint64_t value :
         {std::uint64_t{0}, now - 1, now + 1, now + 64, now * 2, std::uint64_t{good.size()}, std::uint64_t{1} << 32,
          std::uint64_t{1} << 58, (std::uint64_t{1} << 61) + 1, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
      if (value == now) continue;
      const ErrorSeen error = error_of([&] { parse(with(field, value)); });
      // One more or less within the padding is a sound file of another note or text.
      if (!error.thrown && (field == &SessionHeader::note_bytes || field == &SessionHeader::num_tokens)) continue;
      EXPECT_TRUE(error.thrown) << value;
      EXPECT_TRUE(error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kUnsupported) << error.message;
    }
  }
}

TEST_F(BrokenSession, ContentsOfAHostileHandAreChecked) {
  const auto refused = [&](SessionSection section, std::size_t offset, std::uint8_t byte, const char* what) {
    std::string bytes = good;
    bytes[begin(section) + offset] = static_cast<char>(byte);
    const ErrorSeen error = refusal(with_true_checksums(bytes, model));
    EXPECT_EQ(error.code, ErrorCode::kCorrupt);
    EXPECT_TRUE(error.mentions(what)) << error.message;
  };
  refused(SessionSection::kTokens, 3, 0x80, "tokens in [0, ");
  refused(SessionSection::kTokens, 4 + 2, 0x7f, "tokens in [0, ");
  refused(SessionSection::kForms, 5, 2, "forms 0 or 1, got 2");
  refused(SessionSection::kCheckpoints, 0, 0, "more and more tokens, got 0 after 0");
  refused(SessionSection::kCheckpoints, 8, 1, "more and more tokens, got 1 after 1");
  refused(SessionSection::kCheckpoints, 16, 199, "a last checkpoint of 200 tokens, got one of 199");
}

TEST_F(BrokenSession, AnotherVersionIsNamed) {
  const ErrorSeen error = refusal(with(&SessionHeader::version, kSessionVersion + 1));
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_TRUE(error.mentions(
      fmt::format("expected a session of version {}, got version {}", kSessionVersion, kSessionVersion + 1)));
}

TEST_F(BrokenSession, OtherFilesAreNamed) {
  put_bytes(dir / "empty", "");
  EXPECT_TRUE(error_of([&] { load_session(dir / "empty", model); }).mentions("empty: expected a saved session, got"));
  EXPECT_TRUE(refusal(std::string(500, 'x')).mentions("got a file of another kind"));
  EXPECT_EQ(error_of([&] { load_session(dir / "none", model); }).code, ErrorCode::kNotFound);
  EXPECT_EQ(error_of([&] { load_session(dir.path(), model); }).code, ErrorCode::kNotFound);
}

TEST_F(BrokenSession, AnotherModelOrOtherFlagsAreNamed) {
  const auto refusal_by = [&](const Model& other) {
    ErrorSeen error = error_of([&] { load_session(dir / "good", other); });
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_TRUE(error.message.starts_with((dir / "good").string() + ": ")) << error.message;
    return error;
  };
  EXPECT_TRUE(refusal_by(open_tiny({}, "headdims")).mentions("model="));
  EXPECT_TRUE(refusal_by(open_tiny({}, "tiny-mlx-bf16")).mentions("model="));
  EXPECT_TRUE(refusal_by(open_tiny({}, "tiny-mlx-4bit-g32")).mentions("model="));
  EXPECT_TRUE(
      refusal_by(open_tiny({.cache_type = CacheType::kInt8})).mentions("--cache-type=int8, got --cache-type=f32"));
  EXPECT_TRUE(refusal_by(open_tiny({.bf16_state = true})).mentions("--state-type=bf16, got --state-type=f32"));
  EXPECT_TRUE(refusal_by(open_tiny({.mla_form = MlaForm::kAbsorbed})).mentions("--mla=absorbed, got --mla=auto"));
  EXPECT_TRUE(refusal_by(open_tiny({.compute = Compute::kF32})).mentions("--compute=f32, got --compute=auto"));
  EXPECT_TRUE(refusal_by(open_tiny({.router_weights = RouterWeights::kHf})).mentions("--router-weights=hf"));
  EXPECT_TRUE(refusal_by(open_tiny({.kv_a_norm_eps = 1e-5f})).mentions("--kv-a-eps=1e-05"));
  EXPECT_TRUE(refusal_by(open_tiny({.l2_norm_eps = 1e-5f})).mentions("--l2-eps=1e-05"));
  EXPECT_TRUE(refusal_by(open_tiny({.isa = "reference"})).mentions("KL_ISA=reference"));
}

TEST_F(BrokenSession, WhatChangesNoNumberIsNoOtherModel) {
  EXPECT_EQ(open_tiny({.chunk_tokens = 16}).fingerprint(), model.fingerprint());
  EXPECT_EQ(load_session(dir / "good", open_tiny({.chunk_tokens = 16})).checkpoints.size(), 3u);
}

TEST_F(BrokenSession, AFolderThatCannotBeWrittenLeavesTheOldFile) {
  const Conversation c(model, {10});
  EXPECT_EQ(error_of([&] { c.save(dir / "no" / "s", model); }).code, ErrorCode::kCannotWrite);
  std::filesystem::create_directory(dir / "folder");
  EXPECT_EQ(error_of([&] { c.save(dir / "folder", model); }).code, ErrorCode::kCannotWrite);
}

}  // namespace
}  // namespace kl
