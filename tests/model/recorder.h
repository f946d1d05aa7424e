#pragma once
// Collects everything a forward pass reports, addressed by (sequence, index).
#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "kl/model.h"

namespace kl::test {

class Recorder : public ForwardObserver {
 public:
  using Key = std::pair<int, std::int64_t>;  // sequence, index

  explicit Recorder(bool layers = false) : layers_(layers) {}

  void on_logits(int sequence, std::int64_t index, std::span<const float> row) override {
    logits[{sequence, index}].assign(row.begin(), row.end());
  }
  bool wants_layers() const override { return layers_; }
  void on_hidden(int layer, int sequence, std::int64_t index, std::span<const float> row) override {
    hidden[layer][{sequence, index}].assign(row.begin(), row.end());
  }
  void on_router(int layer, int sequence, std::int64_t index, std::span<const std::int32_t> ids,
                 std::span<const float> weights) override {
    router_ids[layer][{sequence, index}].assign(ids.begin(), ids.end());
    router_weights[layer][{sequence, index}].assign(weights.begin(), weights.end());
  }

  std::map<Key, std::vector<float>> logits;
  std::map<int, std::map<Key, std::vector<float>>> hidden, router_weights;
  std::map<int, std::map<Key, std::vector<std::int32_t>>> router_ids;

 private:
  bool layers_;
};

/// Logits of every position when `tokens` are fed in calls of the given sizes (the last size repeats).
inline std::vector<std::vector<float>> logits_of(Model& model, const std::vector<Token>& tokens,
                                                 const std::vector<std::size_t>& calls = {1u << 30},
                                                 SequenceState* state_out = nullptr) {
  SequenceState state = model.make_cache();
  std::vector<std::vector<float>> rows;
  std::size_t call = 0;
  for (std::size_t at = 0; at < tokens.size();) {
    const std::size_t n = std::min(calls[std::min(call++, calls.size() - 1)], tokens.size() - at);
    Recorder recorder;
    const SequenceInput input{&state, std::span(tokens).subspan(at, n), WantLogits::kAll};
    model.forward({&input, 1}, recorder);
    for (auto& [key, row] : recorder.logits) rows.push_back(std::move(row));
    at += n;
  }
  if (state_out != nullptr) *state_out = std::move(state);
  return rows;
}

/// A ragged batch of fresh sequences gives every one of them the bits it has alone.
inline void expect_batch_equals_singles(Model& model, const std::vector<std::vector<Token>>& prompts) {
  std::vector<SequenceState> states;
  for (std::size_t i = 0; i < prompts.size(); ++i) states.push_back(model.make_cache());
  std::vector<SequenceInput> batch;
  for (std::size_t i = 0; i < prompts.size(); ++i) batch.push_back({&states[i], prompts[i], WantLogits::kAll});
  Recorder together;
  model.forward(batch, together);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<std::vector<float>> alone = logits_of(model, prompts[i]);
    for (std::size_t t = 0; t < alone.size(); ++t)
      ASSERT_EQ(together.logits.at({static_cast<int>(i), static_cast<std::int64_t>(t)}), alone[t])
          << "sequence " << i << ", token " << t;
  }
}

}  // namespace kl::test
