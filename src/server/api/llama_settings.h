#pragma once
#include <cstdint>

#include "kl/generate.h"
#include "server/api/json.h"

namespace kl {

/// llama.cpp's `generation_settings`; `n_predict` -1: as many as fit.
OrderedJson llama_settings(const Tokenizer& tokenizer, const GenerateOptions& options, std::int64_t n_predict,
                           bool stream);

}  // namespace kl
