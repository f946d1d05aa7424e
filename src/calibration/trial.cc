#include "calibration/trial.h"

#include <fmt/format.h>

#include <algorithm>

#include "evaluation/distribution.h"
#include "kernels/select.h"
#include "kl/error.h"
#include "model/internals.h"

namespace kl {
namespace {

constexpr std::int64_t kWindow = 512, kFewestTokens = 64;
constexpr std::int64_t kPart = 4;  // windows read before their inputs are looked at

/// Side by side; every token but the first of each is scored.
Windows windows_of(std::int64_t tokens) {
  if (tokens < kFewestTokens) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("calibration text: expected at least {} tokens, got {}", kFewestTokens, tokens));
  }
  const std::int64_t length = std::min(tokens, kWindow);
  return {.length = length, .step = length, .unscored = 1, .count = tokens / length};
}

/// Points modules to their packed matrices, the others to what they were.
void point(std::span<MatrixModule> to, std::span<const MatrixModule> from, const PackedModel& packed) {
  for (std::size_t m = 0; m < to.size(); ++m) {
    const auto it = packed.find(to[m].name);
    for (std::size_t i = 0; i < to[m].matrices.size(); ++i) {
      WeightMatrix& w = to[m].matrices[i];
      w = from[m].matrices[i];
      if (it != packed.end()) w = {it->second.matrices[i].data(), DType::kPacked, w.N, w.K, w.K, it->second.format};
    }
  }
}

}  // namespace

Trial::Trial(const ModelArgs& args, const ModelWeights& weights, std::span<const Token> text, int measured, int threads)
    : args_(args),
      weights_(weights),
      changed_(weights),
      modules_(matrix_modules(args, weights_)),
      changed_modules_(matrix_modules(args, changed_)),
      text_(text),
      all_(windows_of(static_cast<std::int64_t>(text.size()))),
      windows_(windows_of(std::min<std::int64_t>(std::ssize(text), measured))),
      threads_(threads),
      kernels_(select_kernels()) {
  ModelOptions exact;
  exact.threads = threads;
  read(weights_, windows_, exact, [&](Token, std::span<const float> logits) {
    log_sum_exp(logits);  // complains where they are no numbers
    rows_.push_back(encode_row(logits, 0, codes_.emplace_back()));
  });
}

void Trial::read(const ModelWeights& weights, const Windows& windows, const ModelOptions& options, const OnScored& f) {
  Model model = Internals::open(args_, weights, options);
  read_windows(model, text_, windows, 0, -1, f, {});
}

std::int64_t Trial::part_tokens() { return kPart * kWindow; }

void Trial::read_with(const PackedModel& packed, ProductObserver& products, const std::function<void()>& source_read,
                      const std::function<void()>& changed_read) {
  change(packed);
  ModelOptions options;
  options.threads = threads_;
  options.mla_form = MlaForm::kAbsorbed;  // in which each matrix multiplies what it would if packed
  Model source = Internals::open(args_, weights_, options, &products),
        changed = Internals::open(args_, changed_, options, &products);
  Windows part = all_;
  for (std::int64_t first = 0; first < all_.count; first += kPart) {
    part.count = std::min(kPart, all_.count - first);
    const auto text = text_.subspan(static_cast<std::size_t>(first * all_.step));
    const auto read = [&](Model& model, const std::function<void()>& done) {
      read_windows(model, text, part, static_cast<int>(kPart), -1, [](Token, std::span<const float>) {}, {});
      done();
    };
    if (!packed.empty()) read(source, source_read);
    read(changed, changed_read);
  }
}

void Trial::change(const PackedModel& packed) {
  point(changed_modules_, modules_, packed);
  if (args_.tie_word_embeddings) changed_.lm_head = changed_.embed_tokens;
  for (LayerWeights& layer : changed_.layers) {
    auto* moe = std::get_if<MoeWeights>(&layer.feed_forward);
    if (moe == nullptr) continue;
    moe->experts_are_packed = std::all_of(moe->experts.begin(), moe->experts.end(), [](const MlpWeights& e) {
      return e.gate_proj.type == DType::kPacked && e.up_proj.type == DType::kPacked &&
             e.down_proj.type == DType::kPacked;
    });
  }
}

double Trial::divergence_with(const PackedModel& packed) {
  change(packed);
  ModelOptions options;
  options.threads = threads_;
  Mean kl;
  read(changed_, windows_, options, [&](Token, std::span<const float> logits) {
    kl.add(divergence(rows_[static_cast<std::size_t>(kl.count())], logits, log_sum_exp(logits)));
  });
  return kl.mean();
}

}  // namespace kl
