#pragma once
#include <filesystem>
#include <optional>

#include "kl/error.h"

namespace kl::cli {

/// What is wrong with the tokenizer of a model.  Nothing if it is sound or there is none: a folder may do without, but not
/// with a broken one; a GGUF file has one.
std::optional<Error> tokenizer_problem(const std::filesystem::path& dir);

}  // namespace kl::cli
