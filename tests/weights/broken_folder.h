#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/error_of.h"
#include "tests/support/mini_model.h"
#include "weights/sanitize.h"

namespace kl {

namespace fs = std::filesystem;
using nlohmann::json;

inline ErrorSeen load(const fs::path& dir) {
  return error_of([&] {
    const ModelArgs args = ModelArgs::load(dir);
    bind_weights(args, Checkpoint::open(dir));
  });
}

struct Expected {
  ErrorCode code;
  std::vector<std::string> parts;  // of the message
};

inline void expect_refused(const fs::path& dir, const Expected& expected) {
  const ErrorSeen seen = load(dir);
  EXPECT_TRUE(seen.thrown);
  EXPECT_EQ(seen.code, expected.code) << seen.message;
  for (const std::string& part : expected.parts)
    EXPECT_TRUE(seen.mentions(part)) << part << " is not in: " << seen.message;
}

/// The mini model written once; tests break copies of its bytes.
class BrokenFolder : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const TempDir dir;
    write_mini_model(dir.path());
    config_ = get_bytes(dir / "config.json");
    model_ = get_bytes(dir / "model.safetensors");
    std::uint64_t length = 0;
    std::memcpy(&length, model_.data(), 8);
    header_ = json::parse(model_.substr(8, length));
    data_bytes_ = model_.size() - 8 - length;
  }
  void SetUp() override {
    put_bytes(dir_ / "config.json", config_);
    put_bytes(dir_ / "model.safetensors", model_);
  }

  void expect_model_refused(const std::string& model, std::vector<std::string> parts,
                            ErrorCode code = ErrorCode::kCorrupt) {
    put_bytes(dir_ / "model.safetensors", model);
    parts.push_back((dir_ / "model.safetensors").string());
    expect_refused(dir_.path(), {code, parts});
  }
  void expect_header_refused(const std::string& header, std::vector<std::string> parts) {
    SCOPED_TRACE(header.substr(0, 200));
    expect_model_refused(raw_safetensors(header, data_bytes_), std::move(parts));
  }

  static inline std::string config_, model_;
  static inline json header_;
  static inline std::size_t data_bytes_ = 0;
  const TempDir dir_;
};

inline constexpr const char* kTensor = "model.layers.0.self_attn.q_proj.weight";  // F32 [8, 8]

}  // namespace kl
