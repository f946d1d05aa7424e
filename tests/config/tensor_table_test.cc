#include "config/tensor_table.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/mini_model.h"

namespace kl {
namespace {

std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (const std::int64_t dim : shape) n *= dim;
  return n;
}

TEST(TensorTable, EverySpellingHasShapesOfOneSizeThatHoldsTheRole) {
  for (const char* size : {"48b", "tiny"}) {
    for (const TensorRule& rule : tensor_rules(ModelArgs::like(size))) {
      for (const Spelling& spelling : rule.spellings) {
        SCOPED_TRACE(spelling.name);
        const std::int64_t elements = elements_of(spelling.shapes.front());
        for (const auto& shape : spelling.shapes) EXPECT_EQ(elements_of(shape), elements);
        EXPECT_GE(elements,
                  (spelling.first_row * (spelling.is_transposed ? rule.rows : rule.cols)) + rule.rows * rule.cols);
      }
    }
  }
}

TEST(TensorTable, TheReleasedNamesAreThoseOfTheOracleFile) {
  const std::string folder = std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/tiny";
  const TestTensors file = read_tensors(folder + "/model.safetensors");
  std::set<std::string> names;
  for (const ReleasedTensor& tensor : released_tensors(ModelArgs::load(folder))) {
    ASSERT_EQ(file.count(tensor.name), 1u) << tensor.name;
    EXPECT_EQ(file.at(tensor.name).shape, tensor.shape) << tensor.name;
    EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name << " twice";
  }
  EXPECT_EQ(names.size(), file.size());
}

TEST(TensorTable, SizesAddUpToTheListedTensors) {
  for (const char* size : {"tiny", "slice4", "slice8"}) {
    const ModelArgs args = ModelArgs::like(size);
    double parameters = 0, in_layers = 0;
    for (const ReleasedTensor& tensor : released_tensors(args))
      parameters += static_cast<double>(elements_of(tensor.shape));
    for (int i = 0; i < args.num_hidden_layers; ++i) in_layers += released_layer_size(args, i).parameters;
    EXPECT_EQ(released_size(args).parameters, parameters) << size;
    EXPECT_EQ(in_layers + 2.0 * args.vocab_size * args.hidden_size + args.hidden_size, parameters) << size;
  }
}

TEST(ModelArgs, SlicesAreTheFirstLayersOf48B) {
  const ModelArgs whole = ModelArgs::like("48b");
  for (const int n : {4, 8}) {
    ModelArgs slice = ModelArgs::like("slice" + std::to_string(n));
    EXPECT_EQ(slice.num_hidden_layers, n);
    for (int i = 0; i < n; ++i) EXPECT_EQ(slice.is_kda(i), i % 4 != 3);
    slice.num_hidden_layers = whole.num_hidden_layers;
    slice.layer_kinds = whole.layer_kinds;
    EXPECT_EQ(slice, whole);
  }
}

TEST(ModelArgs, AllSpellingsOfOneModelAreEqual) {
  const auto load = [](const char* name) {
    ModelArgs args = ModelArgs::load(std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/" + name);
    args.dtype.clear();  // a bare transformers configuration does not say
    return args;
  };
  EXPECT_EQ(load("tiny"), load("tiny-transformers"));
  EXPECT_EQ(load("tiny"), load("tiny-mlx-bf16"));
}

TEST(ModelArgs, WritesWhatItReads) {
  ModelArgs args = ModelArgs::like("48b");
  EXPECT_EQ(ModelArgs::parse(args.to_json(), "48b"), args);
  EXPECT_NE(args.to_json().find("\"rms_norm_eps\": 1e-05"), std::string::npos) << "floats as people write them";
  args.eos_token_ids = {1, 2, 3};
  args.router_activation = RouterActivation::kSoftmax;
  args.moe_renormalize = false;
  args.tie_word_embeddings = true;
  args.num_expert_group = 8;
  args.topk_group = 4;
  args.kda_conv_size = 3;
  EXPECT_EQ(ModelArgs::parse(args.to_json(), "changed"), args);
  args.feed_forward_kinds.assign(27, FeedForwardKind::kMoe);
  args.feed_forward_kinds[5] = FeedForwardKind::kDense;
  args.first_k_dense_replace = 0;
  EXPECT_EQ(ModelArgs::parse(args.to_json(), "listed"), args);
}

TEST(ModelArgs, LayersInNeitherListAreMla) {
  std::string json = mini_args().to_json();
  const ModelArgs args = ModelArgs::parse(json, "x");
  const std::size_t begin = json.find("\"full_attn_layers\""), end = json.find("\"kda_layers\"");
  json.erase(begin, end - begin);
  EXPECT_EQ(ModelArgs::parse(json, "without full_attn_layers"), args);
}

}  // namespace
}  // namespace kl
