// llama.cpp's own endpoints.
#include "tests/server/api_fixture.h"

namespace kl {
namespace {

class ApiLlama : public ApiTest {};

TEST_F(ApiLlama, Completion) {
  const json reply = ok("/completion", {{"prompt", "Hi"}, {"n_predict", 8}, {"seed", 5}, {"temperature", 0.5}});
  EXPECT_EQ(reply["content"], "Hello world");
  EXPECT_EQ(reply["stop"], true);
  EXPECT_EQ(reply["stop_type"], "eos");
  EXPECT_EQ(reply["stopping_word"], "");
  EXPECT_EQ(reply["tokens"], json::array());
  EXPECT_EQ(reply["prompt"], "Hi");
  EXPECT_EQ(reply["truncated"], false);
  EXPECT_EQ(reply["has_new_line"], false);
  EXPECT_EQ(reply["tokens_cached"], 3);
  EXPECT_EQ(reply["cache_miss_reason"], "diverged");
  EXPECT_EQ(reply["tokens_evaluated"], demo_tokenizer().encode("Hi").size());
  EXPECT_EQ(reply["generation_settings"]["n_predict"], 8);
  EXPECT_EQ(reply["generation_settings"]["seed"], 5);
  EXPECT_EQ(reply["generation_settings"]["temperature"], 0.5);
  EXPECT_EQ(reply["timings"]["predicted_n"], reply["tokens_predicted"]);
  EXPECT_EQ(backend->requests[0].options.max_tokens, 8);
}

TEST_F(ApiLlama, CompletionStream) {
  const std::vector<json> list = stream("/completion", {{"prompt", "Hi"}, {"n_probs", 2}});
  ASSERT_EQ(list.size(), 3u);
  std::string text;
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(list[i]["stop"], false);
    EXPECT_FALSE(list[i]["tokens"].empty());
    EXPECT_EQ(list[i]["completion_probabilities"][0]["top_logprobs"].size(), 2u);
    EXPECT_TRUE(list[i]["completion_probabilities"][0]["id"].is_number());
    text += list[i]["content"];
  }
  EXPECT_EQ(text, "Hello world");
  EXPECT_EQ(list[2]["stop"], true);
  EXPECT_EQ(list[2]["content"], "");
  EXPECT_TRUE(list[2].contains("generation_settings") && list[2].contains("timings"));
}

TEST_F(ApiLlama, EveryFormOfPrompt) {
  const std::vector<Token> hi = demo_tokenizer().encode("Hi");
  json mixed = hi;
  mixed.push_back("Hi");
  ok("/completion", {{"prompt", mixed}});
  std::vector<Token> twice = hi;
  twice.insert(twice.end(), hi.begin(), hi.end());
  EXPECT_EQ(backend->requests.back().prompt, twice);
  ok("/completion", {{"prompt", {{"prompt_string", "Hi"}}}});
  EXPECT_EQ(backend->requests.back().prompt, hi);
  const json many = ok("/completions", {{"prompt", json::array({"Hi", mixed, {{"prompt_string", "Hi"}}})}});
  ASSERT_TRUE(many.is_array());
  EXPECT_EQ(many.size(), 3u);
  EXPECT_EQ(many[2]["index"], 2);
  EXPECT_EQ(refused("/completion", {{"prompt", {{"prompt_string", "Hi"}, {"multimodal_data", {"x"}}}}})["param"],
            "prompt.multimodal_data");
}

TEST_F(ApiLlama, ControlTokensOnlyWhereAskedFor) {
  ok("/completion", {{"prompt", "<|im_end|>"}});
  for (const Token id : backend->requests[0].prompt) EXPECT_FALSE(demo_tokenizer().is_special(id));
  ok("/completion", {{"prompt", "<|im_end|>"}, {"parse_special", true}});
  EXPECT_EQ(backend->requests[1].prompt, std::vector<Token>{demo_tokenizer().special_id("<|im_end|>")});
}

TEST_F(ApiLlama, LogitBiasInEveryForm) {
  const auto bias = [&](json value) {
    ok("/completion", {{"prompt", "Hi"}, {"logit_bias", std::move(value)}});
    return backend->requests.back().options.sampling.logit_bias;
  };
  using Biases = std::vector<std::pair<Token, float>>;
  EXPECT_EQ(bias(json::array({json::array({17, -1.5}), json::array({18, false})})).size(), 2u);
  EXPECT_EQ(bias({{"17", 2}}), (Biases{{17, 2.0f}}));
  Biases expected;
  for (const Token id : demo_tokenizer().encode(" Hello there")) expected.emplace_back(id, -100.0f);
  EXPECT_EQ(bias(json::array({json::array({" Hello there", -100})})), expected);
  EXPECT_EQ(refused("/completion", {{"prompt", "Hi"}, {"logit_bias", json::array({json::array({5000, 1})})}})["param"],
            "logit_bias[0]");
  EXPECT_EQ(refused("/completion", {{"prompt", "Hi"}, {"logit_bias", {{"3", 101}}}})["param"], "logit_bias.3");
}

TEST_F(ApiLlama, TokenizeThereAndBack) {
  const std::string text = "H\xc3\xa9llo <|im_end|>";
  const json tokens = ok("/tokenize", {{"content", text}})["tokens"];
  EXPECT_EQ(tokens.get<std::vector<Token>>(), demo_tokenizer().encode(text, SpecialText::kControl));
  EXPECT_EQ(ok("/detokenize", {{"tokens", tokens}})["content"], text);
  EXPECT_EQ(ok("/tokenize", {{"content", text}, {"parse_special", false}})["tokens"].get<std::vector<Token>>(),
            demo_tokenizer().encode(text));
  std::string pieces;
  const json with_pieces = ok("/tokenize", {{"content", text}, {"with_pieces", true}});
  for (const json& token : with_pieces["tokens"]) {
    if (token["piece"].is_string()) pieces += token["piece"];
    if (token["piece"].is_array()) pieces += text_of(token["piece"]);
  }
  EXPECT_EQ(pieces, text);
  EXPECT_EQ(refused("/detokenize", {{"tokens", {1, 5000}}})["param"], "tokens[1]");
}

TEST_F(ApiLlama, Props) {
  const json props = json::parse(call("GET", "/props")->body);
  EXPECT_EQ(props["total_slots"], 4);
  EXPECT_EQ(props["default_generation_settings"]["n_ctx"], 4096);
  EXPECT_EQ(props["default_generation_settings"]["params"]["seed"], 4294967295u);
  EXPECT_EQ(props["eos_token"], "<|im_end|>");
}

TEST_F(ApiLlama, Slots) {
  const json slots = json::parse(call("GET", "/slots")->body);
  ASSERT_EQ(slots.size(), 2u);
  EXPECT_EQ(slots[0]["is_processing"], true);
  EXPECT_EQ(slots[0]["next_token"]["n_decoded"], 2);
  EXPECT_EQ(slots[1]["n_ctx"], 4096);
  EXPECT_FALSE(slots[0].contains("prompt")) << "what others wrote is nobody's business";
  make({.slots = false});
  EXPECT_EQ(call("GET", "/slots")->status, 501);
}

TEST_F(ApiLlama, SlotFiles) {
  EXPECT_EQ(refused("/slots/0?action=save", {{"filename", "a.bin"}}, 501)["param"], nullptr) << "no --slot-save-path";
  make({.slot_save_path = "/somewhere"});
  const json saved = ok("/slots/1?action=save", {{"filename", "a-1_b.bin"}});
  EXPECT_EQ(saved["id_slot"], 1);
  EXPECT_EQ(saved["filename"], "a-1_b.bin");
  EXPECT_EQ(saved["n_saved"], 12);
  EXPECT_EQ(saved["n_written"], 3456);
  EXPECT_TRUE(saved["timings"]["save_ms"].is_number());
  EXPECT_EQ(backend->files.back(), "/somewhere/a-1_b.bin");
  const json missing = refused("/slots/1?action=restore", {{"filename", "b.bin"}}, 404);
  EXPECT_EQ(missing["param"], "filename");
  EXPECT_EQ(missing["message"], "b.bin: expected a session, got no such file")
      << "where the server keeps it is its business";
  EXPECT_EQ(ok("/slots/0?action=erase", json::object())["n_erased"], 12);
  for (const char* name : {"../x", "/etc/passwd", ".hidden", "..", "a/b", "a\\b", "a b", "\xc3\xa9", "a\n"}) {
    EXPECT_EQ(refused("/slots/0?action=save", {{"filename", name}})["param"], "filename") << name;
  }
  EXPECT_EQ(backend->files.size(), 2u) << "nothing else was touched";
  for (const char* path :
       {"/slots/9?action=save", "/slots/-1?action=save", "/slots/x?action=save", "/slots/1x?action=erase"}) {
    EXPECT_EQ(refused(path, {{"filename", "a"}})["param"], "id_slot") << path;
  }
  EXPECT_EQ(refused("/slots/0?action=fly", json::object())["param"], "action");
}

TEST_F(ApiLlama, Models) {
  for (const char* path : {"/v1/models", "/models"}) {
    const json list = json::parse(call("GET", path)->body);
    EXPECT_EQ(list["object"], "list");
    ASSERT_EQ(list["data"].size(), 1u);
    EXPECT_EQ(list["data"][0]["id"], "demo");
    EXPECT_EQ(list["data"][0]["object"], "model");
  }
  EXPECT_EQ(json::parse(call("GET", "/v1/models/demo")->body)["id"], "demo");
  EXPECT_EQ(call("GET", "/v1/models/other")->status, 404);
}

}  // namespace
}  // namespace kl
