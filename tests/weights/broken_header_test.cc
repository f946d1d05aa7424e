// model.safetensors broken in every way the format allows.  Each file must end in an Error that names the file and the
// tensor, and never in a crash (the sanitizer build runs this too).
#include "tests/weights/broken_folder.h"

namespace kl {
namespace {

TEST_F(BrokenFolder, StartsFromASoundOne) { EXPECT_FALSE(load(dir_.path()).thrown) << load(dir_.path()).message; }

TEST_F(BrokenFolder, FilesCutShortAnywhereAreRefused) {
  for (std::size_t length = 0; length < 64; ++length) expect_model_refused(model_.substr(0, length), {});
  for (std::size_t length = 64; length < model_.size(); length += 101)
    expect_model_refused(model_.substr(0, length), {});
  const std::size_t data = model_.size() - data_bytes_;
  for (const auto& [name, entry] : header_.items()) {
    const std::size_t end = data + entry["data_offsets"][1].get<std::size_t>();
    expect_model_refused(model_.substr(0, end - 1), {});
    if (end < model_.size()) expect_model_refused(model_.substr(0, end), {"expected"});
  }
}

TEST_F(BrokenFolder, FilesThatGoOnAfterTheLastTensorAreRefused) {
  expect_model_refused(model_ + "x", {"expected " + std::to_string(data_bytes_) + " bytes of tensor data"});
  expect_model_refused(model_ + std::string(4096, '\0'), {"bytes of tensor data"});
}

TEST_F(BrokenFolder, HeaderLengthsThatCannotBeAreRefused) {
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{100'000'001}, std::uint64_t{model_.size()},
        std::uint64_t{model_.size() - 7}, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    std::string model = model_;
    std::memcpy(model.data(), &length, 8);
    expect_model_refused(model, {"header"});
  }
}

TEST_F(BrokenFolder, HeadersThatAreNoJsonObjectOfTensorsAreRefused) {
  const std::string sound = header_.dump();
  for (const char* header : {"",
                             " {}",
                             "[]",
                             "null",
                             "3",
                             "\"x\"",
                             "{",
                             "{}x",
                             "{} {}",
                             "{\"a\"}",
                             "{\"a\":}",
                             "{'a':1}",
                             "\xef\xbb\xbf{}",
                             "{\"a\": NaN}",
                             "{\"\xff\": {}}",
                             "{\"a\": 1}",
                             "{\"a\": null}",
                             "{\"a\": []}",
                             "{\"a\": \"x\"}",
                             "{\"a\": true}",
                             "{\"a\": -1}",
                             "{\"a\": 1.5}",
                             "{\"a\": {}}",
                             "{\"\": {}}"}) {
    expect_header_refused(header, {"header"});
  }
  expect_header_refused(sound.substr(0, sound.size() - 1), {"header"});
  expect_header_refused(std::string(1'000'000, '{'), {"header"});
  expect_header_refused("{\"a\": " + std::string(1'000'000, '[') + "}", {"tensor a"});
  std::string nul = sound;
  nul.back() = '\0';
  expect_header_refused(nul + "}", {"NUL"});
  expect_header_refused(sound + std::string(3, '\0'), {"NUL"});
}

TEST_F(BrokenFolder, HeadersThatCostTooMuchAreRefused) {
  std::string dims = "1";
  for (int i = 0; i < 1'000'000; ++i) dims += ",1";
  expect_header_refused("{\"a\": {\"shape\": [" + dims + "]}}", {"tensor a: expected at most 8 dimensions"});
  std::string pairs = "\"k\":\"\"";
  for (int i = 0; i < 1'000'000; ++i) pairs += ",\"" + std::to_string(i) + "\":\"\"";
  expect_header_refused("{\"__metadata__\": {" + pairs + "}}", {"header: expected at most 1000000 JSON values"});
}

TEST_F(BrokenFolder, TensorEntriesThatBreakARuleAreRefusedByName) {
  const std::pair<const char*, const char*> entries[] = {
      {R"({"dtype":"F32","shape":[8,8]})", "expected 2 data_offsets, got 0"},
      {R"({"dtype":"F32","data_offsets":[0,256]})", "shape is missing"},
      {R"({"shape":[8,8],"data_offsets":[0,256]})", "dtype is missing"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[0,256],"extra":1})", "\"extra\""},
      {R"({"dtype":"F32","dtype":"F32","shape":[8,8],"data_offsets":[0,256]})", "appears twice"},
      {R"({"dtype":"F33","shape":[8,8],"data_offsets":[0,256]})", "unknown dtype \"F33\""},
      {R"({"dtype":"f32","shape":[8,8],"data_offsets":[0,256]})", "unknown dtype"},
      {R"({"dtype":"","shape":[8,8],"data_offsets":[0,256]})", "unknown dtype"},
      {R"({"dtype":32,"shape":[8,8],"data_offsets":[0,256]})", "dtype"},
      {R"({"dtype":["F32"],"shape":[8,8],"data_offsets":[0,256]})", "an array"},
      {R"({"dtype":null,"shape":[8,8],"data_offsets":[0,256]})", "null"},
      {R"({"dtype":"F32","shape":8,"data_offsets":[0,256]})", "shape"},
      {R"({"dtype":"F32","shape":"8","data_offsets":[0,256]})", "shape"},
      {R"({"dtype":"F32","shape":{},"data_offsets":[0,256]})", "an object"},
      {R"({"dtype":"F32","shape":[-8,-8],"data_offsets":[0,256]})", "unsigned integers, got -8"},
      {R"({"dtype":"F32","shape":[8.0,8],"data_offsets":[0,256]})", "unsigned integers"},
      {R"({"dtype":"F32","shape":["8",8],"data_offsets":[0,256]})", "unsigned integers"},
      {R"({"dtype":"F32","shape":[[8],8],"data_offsets":[0,256]})", "an array"},
      {R"({"dtype":"F32","shape":[true,8],"data_offsets":[0,256]})", "unsigned integers"},
      {R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,8,8],"data_offsets":[0,256]})", "at most 8 dimensions"},
      {R"({"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,256]})", "unsigned integers"},
      {R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,256]})", "unsigned integers"},
      {R"({"dtype":"F32","shape":[9223372036854775807,2],"data_offsets":[0,256]})", "overflows"},
      {R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,256]})", "overflows"},
      {R"({"dtype":"F32","shape":[1073741824,1073741824,64],"data_offsets":[0,256]})", "overflows"},
      {R"({"dtype":"F4","shape":[3],"data_offsets":[0,256]})", "no whole number of bytes"},
      {R"({"dtype":"F6_E2M3","shape":[1],"data_offsets":[0,256]})", "no whole number of bytes"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[0,255]})", "expected 256 bytes"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[0,257]})", "expected 256 bytes"},
      {R"({"dtype":"F32","shape":[8,7],"data_offsets":[0,256]})", "expected 224 bytes"},
      {R"({"dtype":"F16","shape":[8,8],"data_offsets":[0,256]})", "expected 128 bytes"},
      {R"({"dtype":"F32","shape":[],"data_offsets":[0,256]})", "expected 4 bytes"},
      {R"({"dtype":"F32","shape":[0],"data_offsets":[0,256]})", "expected 0 bytes"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[256,0]})", "run backwards"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[256]})", "expected 2 data_offsets, got 1"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[]})", "expected 2 data_offsets, got 0"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[0,256,512]})", "got more"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[-256,0]})", "unsigned integers"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[0.0,256]})", "unsigned integers"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":["0","256"]})", "unsigned integers"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":256})", "data_offsets"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[9223372036854775551,9223372036854775807]})", "within the"},
      {R"({"dtype":"F32","shape":[8,8],"data_offsets":[18446744073709551360,18446744073709551616]})",
       "unsigned integers"},
  };
  json rest = header_;
  rest.erase(kTensor);
  for (const auto& [entry, message] : entries) {
    const std::string header = "{\"" + std::string(kTensor) + "\":" + entry + "," + rest.dump().substr(1);
    expect_header_refused(header, {kTensor, message});
  }
}

TEST_F(BrokenFolder, HolesAndOverlapsAreRefused) {
  const auto shifted = [&](const char* tensor, std::int64_t by) {
    json header = header_;
    for (auto& offset : header[tensor]["data_offsets"]) offset = offset.get<std::int64_t>() + by;
    return header.dump();
  };
  expect_header_refused(shifted(kTensor, -8), {kTensor, "it overlaps another tensor"});
  expect_header_refused(shifted(kTensor, 8), {kTensor, "a hole before it"});
  expect_header_refused(shifted("lm_head.weight", 4), {"a hole before it"});

  json alias = header_;
  alias["alias"] = alias[kTensor];
  expect_header_refused(alias.dump(), {"it overlaps another tensor"});

  json missing = header_;
  missing.erase(kTensor);
  expect_header_refused(missing.dump(), {"a hole before it"});

  json last = header_;
  last.erase("model.norm.weight");
  expect_header_refused(last.dump(), {"bytes of tensor data"});
  expect_header_refused("{}", {"expected 0 bytes of tensor data"});
}

TEST_F(BrokenFolder, NamesAndMetadataThatBreakARuleAreRefused) {
  const std::string rest = header_.dump().substr(1);
  const std::string entry = R"({"dtype":"F32","shape":[0],"data_offsets":[0,0]},)";
  expect_header_refused("{\"" + std::string(kTensor) + "\":" + entry + rest, {kTensor, "appears twice"});
  expect_header_refused("{\"\":" + entry + rest, {"empty"});
  expect_header_refused("{\"" + std::string(1025, 'n') + "\":" + entry + rest, {"at most 1024 bytes"});
  expect_header_refused("{\"a\\u0001b\":" + entry + rest, {"control characters"});
  expect_header_refused("{\"a\\nb\":" + entry + rest, {"control characters"});
  expect_header_refused("{\"a\\u0000b\":" + entry + rest, {"control characters"});
  for (const char* metadata : {"1", "null", "[]", "\"x\"", "{\"a\":1}", "{\"a\":null}", "{\"a\":{}}", "{\"a\":[]}",
                               "{\"a\":\"x\",\"a\":\"x\"}"}) {
    expect_header_refused("{\"__metadata__\":" + std::string(metadata) + "," + rest, {"header"});
  }
}

TEST_F(BrokenFolder, AnyFlippedByteOfTheHeaderIsHarmlessOrRefusedByTheFilesName) {
  int num_refused = 0;
  for (std::size_t i = 0; i < model_.size() - data_bytes_; i += 2) {
    std::string model = model_;
    model[i] = static_cast<char>(model[i] ^ (1 << (i / 2 % 8)));
    put_bytes(dir_ / "model.safetensors", model);
    const ErrorSeen seen = load(dir_.path());
    num_refused += seen.thrown;
    EXPECT_TRUE(!seen.thrown || seen.mentions(dir_.path().string())) << seen.message;
  }
  EXPECT_GT(num_refused, 1000);
}

}  // namespace
}  // namespace kl
