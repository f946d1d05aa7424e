#include "cli/model_location.h"

#include <fmt/format.h>

#include <cstdlib>
#include <iterator>

#include "kl/error.h"
#include "kl/gguf.h"

namespace kl::cli {
namespace {

namespace fs = std::filesystem;

/// What is there instead of a folder, and what to do about it where that can be guessed.
std::string what_is_at(const fs::path& path) {
  std::error_code ignored;
  const fs::path folder = path.parent_path();
  if (fs::exists(path, ignored)) {
    return fs::exists(folder / "config.json", ignored)
               ? fmt::format("a file; name the folder it lies in, {}", folder.empty() ? "." : folder.string())
               : "a file; kl reads GGUF files and folders that hold config.json, .safetensors files and tiktoken.model";
  }
  const bool like_owner_and_name = std::distance(path.begin(), path.end()) == 2 && path.is_relative() &&
                                   folder != "." && folder != ".." && !fs::exists(folder, ignored);
  return like_owner_and_name ? "nothing there; kl does not download, so name a folder you have downloaded"
                             : "nothing there";
}

/// People download GGUF files into a folder of their own and then name that.
void refuse_folder_of_gguf(const fs::path& dir) {
  std::error_code ignored;
  if (fs::exists(dir / "config.json", ignored)) return;
  std::string first;
  for (const auto& entry : fs::directory_iterator(dir, ignored)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".gguf" && (first.empty() || name < first)) first = name;
  }
  if (first.empty()) return;
  throw Error(
      ErrorCode::kNotFound,
      fmt::format("{}: expected a model folder or a GGUF file, got a folder of GGUF files; name one of them, {}",
                  dir.string(), first));
}

fs::path checked(const fs::path& dir, const char* origin) {
  std::error_code ignored;
  if (fs::is_directory(dir, ignored)) refuse_folder_of_gguf(dir);
  if (fs::is_directory(dir, ignored) || is_gguf(dir)) return dir;
  throw Error(ErrorCode::kNotFound, fmt::format("{}: expected a model folder or a GGUF file{}, got {}", dir.string(),
                                                origin, what_is_at(dir)));
}

}  // namespace

fs::path find_model(const std::string& given) {
  if (!given.empty()) return checked(given, "");
  if (const char* named = std::getenv("KL_MODEL"); named != nullptr && *named != '\0') {
    return checked(named, " (named by $KL_MODEL)");
  }
  std::error_code ignored;
  const fs::path program_dir = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  const fs::path built = (program_dir / "../../../models/demo").lexically_normal();
  const fs::path installed = (program_dir / "../share/kl/models/demo").lexically_normal();
  for (const fs::path& dir : {built, installed}) {
    if (fs::is_directory(dir, ignored)) return dir;
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("-m: expected a model, got none, and the bundled model is neither at {} nor at {}; name "
                          "one with -m DIR or $KL_MODEL",
                          built.string(), installed.string()));
}

}  // namespace kl::cli
