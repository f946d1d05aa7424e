// However a text is driven, it is the one that generate() writes.
#include "generation/text_machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/support/random.h"

namespace kl::test {
namespace {

constexpr const char* kDemo = KL_SOURCE_DIR "/models/demo";

class TextMachineTest : public testing::Test {
 protected:
  /// Draws from logits as they come.
  struct Drawing : ForwardObserver {
    std::vector<TextMachine*> texts;
    void on_logits(int sequence, std::int64_t index, std::span<const float> logits) override {
      TextMachine& text = *texts[static_cast<std::size_t>(sequence)];
      if (text.draws_from(index)) said[&text] += text.draw(logits);
    }
    std::map<const TextMachine*, std::string> said;
  };

  /// One text and its state.
  struct Written {
    Written(TextMachineTest& test, std::string_view prompt, const TextMachine::Setting& setting)
        : machine(test.tokenizer_, test.form_, test.options_, test.tokenizer_.encode(prompt), state, setting) {
      state = test.model_.make_cache();
    }
    SequenceState state;
    TextMachine machine;
  };

  GenerateResult alone(std::string_view prompt) {
    SequenceState state = model_.make_cache();
    return generate(model_, tokenizer_, state, tokenizer_.encode(prompt), options_);
  }

  TextMachineTest() {
    options_.max_tokens = 60;
    options_.ignore_stop_tokens = true;
    options_.sampling.seed = 3;
  }

  Tokenizer tokenizer_ = Tokenizer::open(kDemo);
  Model model_ = Model::open(kDemo, {.threads = 2, .chunk_tokens = 16});
  MlaFormRule form_{tokenizer_, MlaForm::kAuto};
  GenerateOptions options_;
};

constexpr std::string_view kLong =
    "<|im_user|>user<|im_middle|>What light? What light? What light through yonder?<|im_end|>";
constexpr std::string_view kShort = "ROMEO:\n";

TEST_F(TextMachineTest, WritesTheSameInPiecesWithDraftsAndBesideOthers) {
  Random random(5);
  for (int round = 0; round < 10; ++round) {
    Written a(*this, kLong, {.max_draft = 4}), b(*this, kShort, {});
    PassCost cheap_rows;
    for (int i = 0; i < 20; ++i)
      for (const int rows : {1, 5, 9}) cheap_rows.observe(rows, 1e-3 * (1 + 0.01 * rows));
    Drawing drawing;
    while (!a.machine.finished() || !b.machine.finished()) {
      std::vector<SequenceInput> batch;
      drawing.texts.clear();
      for (TextMachine* text : {&a.machine, &b.machine}) {
        if (text->finished() || random.below(4) == 0) continue;
        if (text->is_reading()) {
          text->read_on(text->stretch(1 + static_cast<std::int64_t>(random.below(20))));
        } else {
          text->write_on(cheap_rows);
        }
        batch.push_back(text->input());
        drawing.texts.push_back(text);
      }
      if (batch.empty()) continue;
      model_.forward(batch, drawing);
      for (TextMachine* text : drawing.texts) text->end_pass();
    }
    for (const auto& [text, prompt] : {std::pair(&a, kLong), std::pair(&b, kShort)}) {
      const GenerateResult expected = alone(prompt);
      EXPECT_EQ(text->machine.continuation().ids(), expected.ids);
      EXPECT_EQ(drawing.said[&text->machine], expected.text);
      EXPECT_TRUE(std::ranges::equal(text->machine.read(), expected.read));
      EXPECT_EQ(text->machine.counts().generated, options_.max_tokens);
    }
  }
}

TEST_F(TextMachineTest, EndsWhereItsContextEnds) {
  const std::int64_t prompt = std::ssize(tokenizer_.encode(kShort));
  Written text(*this, kShort, {.ctx_size = prompt + 3});
  Drawing drawing;
  drawing.texts = {&text.machine};
  while (!text.machine.finished()) {
    if (text.machine.is_reading()) {
      text.machine.read_on(text.machine.stretch());
    } else {
      text.machine.write_on({});
    }
    const SequenceInput input = text.machine.input();
    model_.forward({&input, 1}, drawing);
    text.machine.end_pass();
  }
  EXPECT_EQ(text.machine.length(), prompt + 3);
  EXPECT_EQ(text.machine.continuation().finish_reason(), FinishReason::kLength);
}

/// A state that was lost is read again from the tokens: what was drawn is then read like a prompt.
TEST_F(TextMachineTest, GoesOnAfterItsStateWasLost) {
  Written text(*this, kShort, {});
  Drawing drawing;
  drawing.texts = {&text.machine};
  while (!text.machine.finished()) {
    if (text.machine.length() == text.machine.prompt_tokens() + 10 && !text.machine.is_reading()) {
      text.state = model_.make_cache();
      EXPECT_TRUE(text.machine.is_reading());
      text.machine.read_on(7);
    } else if (text.machine.is_reading()) {
      text.machine.read_on(text.machine.stretch());
    } else {
      text.machine.write_on({});
    }
    const SequenceInput input = text.machine.input();
    model_.forward({&input, 1}, drawing);
    text.machine.end_pass();
  }
  EXPECT_EQ(text.machine.continuation().ids(), alone(kShort).ids);
}

}  // namespace
}  // namespace kl::test
