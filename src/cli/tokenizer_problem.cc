#include "cli/tokenizer_problem.h"

#include <system_error>

#include "base/problems.h"
#include "kl/gguf.h"
#include "kl/tokenizer.h"

namespace kl::cli {

std::optional<Error> tokenizer_problem(const std::filesystem::path& dir) {
  std::error_code ignored;
  const auto status = std::filesystem::symlink_status(dir / "tiktoken.model", ignored);
  if (!std::filesystem::exists(status) && !is_gguf(dir)) return {};
  return problem_of([&] { Tokenizer::open(dir); });
}

}  // namespace kl::cli
