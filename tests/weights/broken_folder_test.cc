// A folder whose files are sound by themselves but miss tensors, contradict each other or are no files at all.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/weights/broken_folder.h"

namespace kl {
namespace {

TEST_F(BrokenFolder, EveryMissingTensorIsNamed) {
  const TestTensors sound = mini_tensors();
  for (const auto& [name, tensor] : sound) {
    if (name.find("correction_bias") != name.npos) continue;  // zeros if absent
    TestTensors tensors = sound;
    tensors.erase(name);
    write_tensors(dir_ / "model.safetensors", tensors);
    expect_refused(dir_.path(),
                   {ErrorCode::kCorrupt, {dir_.path().string(), "tensor " + name + ": missing, expected ["}});
  }
}

TEST_F(BrokenFolder, EveryMisshapenTensorIsNamedWithBothShapes) {
  const TestTensors sound = mini_tensors();
  for (const auto& [name, tensor] : sound) {
    TestTensors tensors = sound;
    tensors[name].shape.back() += 1;
    tensors[name].bytes.assign(tensors[name].bytes.size() * 4, '\0');
    std::size_t bytes = 4;
    for (const auto dim : tensors[name].shape) bytes *= static_cast<std::size_t>(dim);
    tensors[name].bytes.resize(bytes);
    write_tensors(dir_ / "model.safetensors", tensors);
    expect_refused(dir_.path(), {ErrorCode::kCorrupt,
                                 {dir_.path().string(), "tensor " + name + ": expected [",
                                  "got " + shape_text(tensors[name].shape)}});
  }
}

TEST_F(BrokenFolder, TensorsOfATypeWeDoNotReadAreUnsupported) {
  const TestTensors sound = mini_tensors();
  for (const char* dtype : {"I32", "U32", "F8_E4M3", "F64", "U8", "BOOL"}) {
    TestTensors tensors = sound;
    TestTensor& tensor = tensors[kTensor];
    tensor.dtype = dtype;
    tensor.bytes.resize(64 * static_cast<std::size_t>(safetensors_dtype_bits(dtype)) / 8);
    write_tensors(dir_ / "model.safetensors", tensors);
    expect_refused(dir_.path(),
                   {ErrorCode::kUnsupported,
                    {dir_.path().string(), kTensor, "expected F32, F16 or BF16", "got " + std::string(dtype)}});
  }
}

TEST_F(BrokenFolder, UnexpectedTensorsAreNamed) {
  for (const char* name :
       {"model.layers.2.input_layernorm.weight", "model.layers.0.self_attn.q_proj.bias",
        "model.layers.1.self_attn.A_log", "model.layers.0.block_sparse_moe.gate.weight",
        "model.layers.1.block_sparse_moe.experts.2.w1.weight", "model.layers.-1.input_layernorm.weight",
        "model.layers.00.input_layernorm.weight", "lm_head.bias", "x", "vision.weight",
        "model.layers.0.self_attn.g_proj.weight", "model.layers.1.self_attn.q_a_proj.weight"}) {
    TestTensors tensors = mini_tensors();
    tensors[name] = {"F32", {2}, std::string(8, '\0')};
    write_tensors(dir_ / "model.safetensors", tensors);
    expect_refused(dir_.path(), {ErrorCode::kCorrupt,
                                 {dir_.path().string(), "tensor " + std::string(name) + ": unexpected F32 [2]"}});
  }
  TestTensors tensors = mini_tensors();
  tensors["model.layers.0.self_attn.q_proj.scales"] = {"F32", {2}, std::string(8, '\0')};
  write_tensors(dir_ / "model.safetensors", tensors);
  expect_refused(dir_.path(), {ErrorCode::kUnsupported, {"q_proj.scales", "quantised"}});
}

TEST_F(BrokenFolder, AllTensorProblemsComeInOneMessage) {
  TestTensors tensors = mini_tensors();
  tensors.erase("model.norm.weight");
  tensors["extra"] = {"F32", {2}, std::string(8, '\0')};
  tensors[kTensor].shape = {64};
  write_tensors(dir_ / "model.safetensors", tensors);
  expect_refused(dir_.path(), {ErrorCode::kCorrupt,
                               {"3 problems", "model.norm.weight: missing", "extra: unexpected",
                                std::string(kTensor) + ": expected [8, 8], got [64]"}});
}

TEST_F(BrokenFolder, LongListsAreToldByPattern) {
  ModelArgs args = mini_args();
  args.num_experts = 200;
  put_bytes(dir_ / "config.json", args.to_json());
  TestTensors tensors = mini_tensors(args);
  for (int e = 0; e < 200; ++e)
    tensors.erase("model.layers.1.block_sparse_moe.experts." + std::to_string(e) + ".w1.weight");
  tensors.erase("model.norm.weight");
  write_tensors(dir_ / "model.safetensors", tensors);
  expect_refused(dir_.path(), {ErrorCode::kCorrupt,
                               {"2 problems", "experts.0.w1.weight: missing, expected [4, 8] (and 199 more like",
                                "model.norm.weight: missing"}});
}

// --- several files
// ------------------------------------------------------------------------------------------------------

/// The mini model in two shards with an index.
class BrokenIndex : public BrokenFolder {
 protected:
  void SetUp() override {
    put_bytes(dir_ / "config.json", config_);
    for (const auto& [name, tensor] : mini_tensors()) {
      const int shard = name.find("layers.1") != name.npos ? 1 : 0;
      shards_[shard][name] = tensor;
      index_["weight_map"][name] = kFiles[shard];
    }
    write();
  }
  void write() {
    put_bytes(dir_ / "model.safetensors.index.json", index_.dump());
    for (int i = 0; i < 2; ++i) write_tensors(dir_ / kFiles[i], shards_[i]);
  }
  void expect_index_refused(const json& index, std::vector<std::string> parts) {
    put_bytes(dir_ / "model.safetensors.index.json", index.dump());
    expect_refused(dir_.path(), {ErrorCode::kCorrupt, std::move(parts)});
  }

  static constexpr const char* kFiles[2] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
  TestTensors shards_[2];
  json index_;
};

TEST_F(BrokenIndex, StartsFromASoundOne) {
  EXPECT_FALSE(load(dir_.path()).thrown) << load(dir_.path()).message;
  fs::remove(dir_ / "model.safetensors.index.json");
  EXPECT_FALSE(load(dir_.path()).thrown) << "without an index, as mlx-lm reads it: " << load(dir_.path()).message;
}

TEST_F(BrokenIndex, IndexesThatAreNoMapOfShardsAreRefused) {
  const std::string file = "model.safetensors.index.json";
  for (const char* text :
       {"", "{", "[]", "null", "{}", "{\"weight_map\":[]}", "{\"weight_map\":{}}", "{\"weight_map\":null}",
        "{\"weight_map\":{\"a\":1}}", "{\"weight_map\":{\"a\":null}}", "{\"weight_map\":{\"a\":\"x\",\"a\":\"x\"}}",
        "{\"weight_map\":{\"\xff\":\"x\"}}", "version https://git-lfs.github.com/spec/v1\n"}) {
    put_bytes(dir_ / file, text);
    expect_refused(dir_.path(), {ErrorCode::kCorrupt, {file}});
  }
}

TEST_F(BrokenIndex, ShardNamesThatLeadElsewhereAreRefused) {
  for (const char* name : {"../model-00001-of-00002.safetensors", "/etc/passwd", "sub/model.safetensors",
                           ".hidden.safetensors", "..", ".", "", "model\\x.safetensors", "model-00001-of-00002.bin",
                           "model 1.safetensors", "model\n.safetensors", "~/x.safetensors", "C:x.safetensors",
                           "http://x/y.safetensors", ".safetensors", "%2e%2e.safetensors", "mod\u00e9l.safetensors"}) {
    json index = index_;
    index["weight_map"][kTensor] = name;
    expect_index_refused(index, {"model.safetensors.index.json", kTensor, "plain name"});
  }
}

TEST_F(BrokenIndex, IndexAndShardsMustAgree) {
  json moved = index_;
  moved["weight_map"][kTensor] = kFiles[1];
  expect_index_refused(moved, {kFiles[1], kTensor, "missing, though"});
  json more = index_;
  more["weight_map"]["ghost"] = kFiles[0];
  expect_index_refused(more, {kFiles[0], "tensor ghost: missing, though"});
  json less = index_;
  less["weight_map"].erase(kTensor);
  expect_index_refused(less, {kFiles[0], kTensor, "not listed"});
  json unknown = index_;
  unknown["weight_map"][kTensor] = "model-00003-of-00002.safetensors";
  put_bytes(dir_ / "model.safetensors.index.json", unknown.dump());
  expect_refused(dir_.path(), {ErrorCode::kNotFound, {"model-00003-of-00002.safetensors: expected a readable file"}});

  json total = index_;
  for (const json& value : {json(1), json(1e30), json("x"), json(nullptr), json(-5)}) {
    total["metadata"]["total_size"] = value;
    expect_index_refused(total, {"model.safetensors.index.json", "metadata.total_size"});
  }
}

TEST_F(BrokenIndex, MoreFilesThanAnyModelHasAreRefusedBeforeTheyAreOpened) {
  json index;
  for (int i = 0; i <= 10'000; ++i)
    index["weight_map"]["t" + std::to_string(i)] = fmt::format("model-{}.safetensors", i);
  expect_index_refused(index, {"weight_map: expected at most 10000 files, got 10001"});
}

TEST_F(BrokenIndex, ATensorInTwoShardsIsRefused) {
  shards_[1][kTensor] = shards_[0][kTensor];
  write();
  expect_refused(dir_.path(), {ErrorCode::kCorrupt, {kFiles[0], kFiles[1], kTensor, "also in"}});
  fs::remove(dir_ / "model.safetensors.index.json");
  expect_refused(dir_.path(), {ErrorCode::kCorrupt, {kFiles[0], kFiles[1], kTensor, "also in"}});
}

TEST_F(BrokenIndex, EveryBadShardIsReportedAtOnce) {
  put_bytes(dir_ / kFiles[0], "12345");
  fs::remove(dir_ / kFiles[1]);
  expect_refused(dir_.path(), {ErrorCode::kCorrupt,
                               {"2 problems", std::string(kFiles[0]) + ": expected a safetensors file",
                                std::string(kFiles[1]) + ": expected a readable file"}});
}

// --- the file system
// ----------------------------------------------------------------------------------------------------

TEST_F(BrokenFolder, MissingFilesAreNamed) {
  expect_refused(dir_ / "nowhere", {ErrorCode::kNotFound, {"nowhere"}});
  fs::remove(dir_ / "model.safetensors");
  expect_refused(dir_.path(), {ErrorCode::kNotFound, {dir_.path().string(), "expected model.safetensors"}});
  fs::remove(dir_ / "config.json");
  expect_refused(dir_.path(), {ErrorCode::kNotFound, {"config.json", "No such file"}});
}

TEST_F(BrokenFolder, ThingsInPlaceOfFilesAreRefused) {
  for (const char* file : {"config.json", "model.safetensors", "model.safetensors.index.json"}) {
    const std::string sound = fs::exists(dir_ / file) ? get_bytes(dir_ / file) : "";
    const auto expect_named = [&](const char* why) {
      expect_refused(dir_.path(), {ErrorCode::kNotFound, {(dir_ / file).string(), why}});
    };
    fs::remove(dir_ / file);
    fs::create_directory(dir_ / file);
    expect_named("a directory");
    fs::remove(dir_ / file);
    ASSERT_EQ(::mkfifo((dir_ / file).c_str(), 0600), 0);
    expect_named("pipe");
    fs::remove(dir_ / file);
    fs::create_symlink(dir_ / "nowhere", dir_ / file);
    expect_named("No such file");
    fs::remove(dir_ / file);
    fs::create_symlink(dir_ / file, dir_ / file);
    expect_named("expected a readable file");
    fs::remove(dir_ / file);
    fs::create_symlink("/dev/zero", dir_ / file);
    expect_named("a device");
    fs::remove(dir_ / file);
    if (!sound.empty()) put_bytes(dir_ / file, sound);
  }
  EXPECT_FALSE(load(dir_.path()).thrown);
}

TEST_F(BrokenFolder, EmptyFilesAndGitLfsPointersAreRefused) {
  const std::string lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1234\n";
  expect_model_refused("", {"got 0"});
  expect_model_refused(lfs, {"git lfs pull"});
  put_bytes(dir_ / "model.safetensors", model_);
  put_bytes(dir_ / "config.json", lfs);
  expect_refused(dir_.path(), {ErrorCode::kCorrupt, {"config.json", "git lfs pull"}});
}

TEST_F(BrokenFolder, UnreadableFilesAreNamed) {
  fs::permissions(dir_.path(), fs::perms(0755));
  fs::permissions(dir_ / "config.json", fs::perms(0644));
  fs::permissions(dir_ / "model.safetensors", fs::perms::none);
  const uid_t user = ::geteuid();
  ASSERT_EQ(::seteuid(user == 0 ? 65534 : user), 0);  // root may read everything
  expect_refused(dir_.path(), {ErrorCode::kNotFound, {"model.safetensors", "Permission denied"}});
  ASSERT_EQ(::seteuid(user), 0);
}

TEST_F(BrokenFolder, LinksToSoundFilesAreTaken) {
  const TempDir cache;
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::rename(dir_ / file, cache / file);
    fs::create_symlink(cache / file, dir_ / file);
  }
  EXPECT_FALSE(load(dir_.path()).thrown) << load(dir_.path()).message;
}

}  // namespace
}  // namespace kl
