#include "cli/tokenizer_problem.h"

#include <system_error>

#include "kl/gguf.h"
#include "kl/tokenizer.h"

namespace kl::cli {

std::optional<Error> tokenizer_problem(const std::filesystem::path& dir) {
  std::error_code ignored;
  const auto status = std::filesystem::symlink_status(dir / "tiktoken.model", ignored);
  if (!std::filesystem::exists(status) && !is_gguf(dir)) return {};
  try {
    Tokenizer::open(dir);
  } catch (const Error& error) {
    return error;
  }
  return {};
}

}  // namespace kl::cli
