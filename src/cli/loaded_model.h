#pragma once
#include <filesystem>
#include <functional>
#include <string>

#include "kl/generate.h"
#include "kl/model.h"
#include "kl/tokenizer.h"

namespace kl::cli {

/// A model with the tokenizer that belongs to it.
struct LoadedModel {
  std::filesystem::path dir;
  Tokenizer tokenizer;
  Model model;

  /// Asked before weights are loaded; refuses by throwing.
  using Admission = std::function<void(const Tokenizer&, const ModelArgs&, const MemoryPlan&)>;

  /// Throws what Model::open, Tokenizer::open and `admit` (may be empty) throw, and Error(kCorrupt) if the tokenizer has
  /// ids the model has not.
  static LoadedModel open(const std::string& given_dir, const ModelOptions& options, const Admission& admit = {});

  /// "avx512, 2 threads"
  std::string description() const;
};

/// Tokens per second of the two phases; 0 where nothing was timed.
struct Rates {
  double prompt = 0, decode = 0;
  explicit Rates(const GenerateResult& result);
};

/// One line about what a generation cost: tokens, seconds, rates.
std::string summary(const GenerateResult& result);

}  // namespace kl::cli
