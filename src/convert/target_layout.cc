#include "convert/target_layout.h"

#include <algorithm>
#include <utility>

namespace kl {
namespace {

class Lister {
 public:
  Lister(SourceModel& source, TargetFormat format) : source_(source), args_(source.args()), format_(format) {}

  std::vector<TargetModule> run() {
    for (const TensorRule& rule : source_.rules())
      if (rule.role == "embed_tokens") add(rule, -1);
    for (int layer = 0; layer < args_.num_hidden_layers; ++layer) {
      for (const TensorRule& rule : source_.rules())
        if (!is_top(rule) && layer_has_part(args_, layer, rule.part)) add(rule, layer);
    }
    for (const TensorRule& rule : source_.rules())
      if (is_top(rule) && rule.role != "embed_tokens") add(rule, -1);
    return std::move(modules_);
  }

 private:
  static bool is_top(const TensorRule& rule) { return rule.part == Part::kTop || rule.part == Part::kLmHead; }

  void add(const TensorRule& rule, int layer) {
    if (rule.part == Part::kLmHead && args_.tie_word_embeddings) return add_tied_head(rule);
    if (format_ == TargetFormat::kHf && rule.role == "mla.w_uk") return add_kv_b_proj(rule, layer);
    if (format_ == TargetFormat::kHf && rule.role == "mla.w_uv") return;  // the other half of it
    const Spelling& spelling = spelling_of(rule);
    const std::int64_t count = rule.part == Part::kExpert ? args_.num_experts
                               : spelling.row_step > 0    ? args_.num_attention_heads
                                                          : 1;
    const bool is_stacked = spelling.row_step > 0;
    for (std::int64_t i = 0; i < (is_stacked ? 1 : count); ++i) {
      TargetModule module{tensor_name(spelling, rule.part, layer, i), shape_of(rule, spelling), {}, &rule};
      for (std::int64_t j = 0; j < (is_stacked ? count : 1); ++j)
        module.parts.push_back(source_.find(rule, layer, is_stacked ? j : i));
      modules_.push_back(std::move(module));
    }
  }

  /// llama.cpp wants the matrix a second time.
  void add_tied_head(const TensorRule& head) {
    if (format_ != TargetFormat::kGguf) return;
    const auto embedding = std::find_if(source_.rules().begin(), source_.rules().end(),
                                        [](const TensorRule& rule) { return rule.role == "embed_tokens"; });
    const Spelling& spelling = spelling_of(head);
    modules_.push_back({spelling.name, shape_of(head, spelling), {source_.find(*embedding, -1, 0)}, &head});
  }

  /// The rows that make keys and those that make values, head after head.
  void add_kv_b_proj(const TensorRule& w_uk, int layer) {
    const auto w_uv = std::find_if(source_.rules().begin(), source_.rules().end(),
                                   [](const TensorRule& rule) { return rule.role == "mla.w_uv"; });
    const Spelling& spelling = w_uk.spellings.front();
    TargetModule module{tensor_name(spelling, w_uk.part, layer, 0), spelling.shapes.front(), {}, &w_uk};
    for (std::int64_t h = 0; h < args_.num_attention_heads; ++h) {
      module.parts.push_back(source_.find(w_uk, layer, h, true));
      module.parts.push_back(source_.find(*w_uv, layer, h));
    }
    modules_.push_back(std::move(module));
  }

  const Spelling& spelling_of(const TensorRule& rule) const {
    const auto named = [&](Naming naming) {
      return std::find_if(rule.spellings.begin(), rule.spellings.end(),
                          [=](const Spelling& s) { return s.naming == naming; });
    };
    auto found = rule.spellings.end();
    if (format_ == TargetFormat::kGguf) found = named(Naming::kGguf);
    const bool is_half = rule.role == "mla.w_uk" || rule.role == "mla.w_uv";
    if (format_ == TargetFormat::kMlx || (format_ == TargetFormat::kKl && is_half)) found = named(Naming::kMlx);
    if (found == rule.spellings.end() && format_ == TargetFormat::kMlx) found = named(Naming::kAny);
    return found == rule.spellings.end() ? rule.spellings.front() : *found;
  }

  /// Of the shapes a reader accepts, the one that the other program writes.
  std::vector<std::int64_t> shape_of(const TensorRule& rule, const Spelling& spelling) const {
    if (format_ == TargetFormat::kMlx && rule.role.ends_with("_conv")) return {rule.rows, rule.cols, 1};
    if (format_ == TargetFormat::kGguf && rule.role == "kda.A_log") return {rule.rows, 1};
    return spelling.shapes.front();
  }

  SourceModel& source_;
  const ModelArgs& args_;
  TargetFormat format_;
  std::vector<TargetModule> modules_;
};

}  // namespace

std::int64_t TargetModule::size() const {
  std::int64_t n = 1;
  for (const std::int64_t dim : shape) n *= dim;
  return n;
}

std::vector<TargetModule> target_modules(SourceModel& source, TargetFormat format) {
  return Lister(source, format).run();
}

}  // namespace kl
