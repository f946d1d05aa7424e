#include "kl/model.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>
#include <unordered_set>

#include "base/float_environment.h"
#include "base/mapped_file.h"
#include "checkpoint/checkpoint.h"
#include "config/quantization_config.h"
#include "kernels/select.h"
#include "kl/error.h"
#include "model/fingerprint.h"
#include "model/internals.h"
#include "model/kimi_linear_model.h"
#include "model/memory_plan.h"
#include "weights/sanitize.h"

namespace kl {

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* table : available_kernels()) names.emplace_back(table->isa);
  return names;
}

std::string chosen_isa(std::string_view isa) { return select_kernels(isa).isa; }

/// Everything a model owns.  Members are built in order: each needs those above it.
struct Model::Impl {
  Impl(const std::filesystem::path& dir, const ModelOptions& o) : Impl(load_args(dir, o), dir, o) {}
  Impl(const ModelArgs& a, const std::filesystem::path& dir, const ModelOptions& o)
      : Impl(a, bind_weights(a, Checkpoint::open(dir), load_encoding(dir).get()), o, nullptr) {}
  Impl(const ModelArgs& a, const ModelWeights& w, const ModelOptions& o, ProductObserver* products)
      : options(o),
        kernels(select_kernels(o.isa)),
        args(a),
        weights(w),
        choices(choose(o, args, weights)),
        model(args, weights, choices.settings, kernels, choices.threads, choices.max_tokens, products) {}

  /// Throws Error(kInvalidArgument) for a batch that forward() cannot read.
  void check(std::span<const SequenceInput> batch) const;
  void fill_pass(std::span<const SequenceInput> batch, std::span<std::int64_t> done);

  const ModelOptions options;
  const Kernels& kernels;
  const ModelArgs args;
  const ModelWeights weights;
  const ModelChoices choices;
  KimiLinearModel model;
  const std::shared_ptr<const int> identity = std::make_shared<const int>(0);  // states of this model carry it
  ForwardPass pass;
  Profile* profile = nullptr;
  std::once_flag fingerprint_once;
  std::string fingerprint;
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::open(const std::filesystem::path& dir, const ModelOptions& options) {
  try {
    return Model(std::make_unique<Impl>(dir, options));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kOutOfMemory,
                dir.string() + ": expected memory for scratch buffers, got none; try a smaller --chunk");
  }
}

Model Internals::open(const ModelArgs& args, const ModelWeights& weights, const ModelOptions& options,
                      ProductObserver* products) {
  return Model(std::make_unique<Model::Impl>(args, weights, options, products));
}

const ModelArgs& Model::args() const { return impl_->args; }
const ModelOptions& Model::options() const { return impl_->options; }
const char* Model::isa() const { return impl_->kernels.isa; }
int Model::threads() const { return impl_->model.threads(); }
void Model::bring_into_memory(const Progress& progress) const {
  std::int64_t done = 0;
  for (const std::span<const std::byte> bytes : impl_->weights.mapped) {
    kl::bring_into_memory(bytes);
    done += std::ssize(bytes);
    if (progress) progress("reading the weights", done, static_cast<std::int64_t>(impl_->weights.mapped_bytes));
  }
}

std::uint64_t Model::layers_done() const { return impl_->model.layers_done(); }

const std::string& Model::fingerprint() const {
  std::call_once(impl_->fingerprint_once, [this] {
    impl_->fingerprint =
        fingerprint_of(impl_->args, impl_->weights, impl_->options, impl_->choices, impl_->kernels.isa);
  });
  return impl_->fingerprint;
}

void Model::set_profile(Profile* profile) { impl_->profile = profile; }

MemoryPlan Model::memory_plan() const { return kl::memory_plan(impl_->args, impl_->weights, impl_->choices); }

SequenceState Model::make_cache() const {
  return Internals::state(std::make_unique<StateImpl>(impl_->args, impl_->choices.settings.kda_state,
                                                      impl_->choices.settings.latents, impl_->identity));
}

void Model::Impl::check(std::span<const SequenceInput> batch) const {
  std::unordered_set<const SequenceState*> seen;
  for (std::size_t s = 0; s < batch.size(); ++s) {
    const std::string subject = "sequence " + std::to_string(s) + " of the batch";
    if (batch[s].state == nullptr || !batch[s].state->has_value())
      throw Error(ErrorCode::kInvalidArgument, subject + ": expected a state from make_cache(), got none");
    if (Internals::of(*batch[s].state).owner != identity)
      throw Error(ErrorCode::kInvalidArgument, subject + ": expected a state of this model, got one of another");
    if (!seen.insert(batch[s].state).second)
      throw Error(ErrorCode::kInvalidArgument, subject + ": expected a state of its own, got one used twice");
    if (batch[s].tokens.empty())
      throw Error(ErrorCode::kInvalidArgument, subject + ": expected at least one token, got none");
    if (batch[s].tentative < 0 || batch[s].tentative > std::ssize(batch[s].tokens))
      throw Error(ErrorCode::kInvalidArgument, subject + ": expected 0 to " + std::to_string(batch[s].tokens.size()) +
                                                   " tentative tokens, got " + std::to_string(batch[s].tentative));
    if (batch[s].state->num_tentative() > 0)
      throw Error(ErrorCode::kInvalidArgument,
                  subject + ": expected a state after keep(), got one with tentative tokens");
    for (const Token token : batch[s].tokens)
      if (token < 0 || token >= args.vocab_size)
        throw Error(ErrorCode::kInvalidArgument, subject + ": expected tokens in [0, " +
                                                     std::to_string(args.vocab_size) + "), got " +
                                                     std::to_string(token));
  }
}

namespace {

/// Looks at the call, not at the pass: neither the size of passes nor what else is in the batch may change the form.
MlaForm form_of(MlaForm of_model, const SequenceInput& input) {
  const MlaForm form = of_model == MlaForm::kAuto ? input.form : of_model;
  if (form != MlaForm::kAuto) return form;
  const bool few = input.tokens.size() < kExpandFrom || input.tentative > 0;
  return few ? MlaForm::kAbsorbed : MlaForm::kExpanded;
}

}  // namespace

/// Packs the next at most choices.max_tokens tokens nobody has fed yet: sequence after sequence, cut where the pass is full.
void Model::Impl::fill_pass(std::span<const SequenceInput> batch, std::span<std::int64_t> done) {
  const std::ptrdiff_t max_tokens = choices.max_tokens;
  pass.clear();
  for (std::size_t s = 0; s < batch.size() && pass.T() < max_tokens; ++s) {
    const auto left = static_cast<std::int64_t>(batch[s].tokens.size()) - done[s];
    const std::int64_t count = std::min<std::int64_t>(left, max_tokens - pass.T());
    if (count == 0) continue;
    const std::int64_t tentative = std::clamp<std::int64_t>(batch[s].tentative - (left - count), 0, count);
    pass.segments.push_back({pass.T(), static_cast<std::ptrdiff_t>(count), form_of(options.mla_form, batch[s]),
                             static_cast<std::ptrdiff_t>(tentative)});
    pass.states.push_back(&Internals::of(*batch[s].state));
    pass.sequences.push_back(static_cast<int>(s));
    pass.indices.push_back(done[s]);
    const std::int64_t last = static_cast<std::int64_t>(batch[s].tokens.size()) - 1;
    for (std::int64_t i = done[s]; i < done[s] + count; ++i) {
      if (batch[s].want == WantLogits::kAll || (batch[s].want == WantLogits::kLast && i == last))
        pass.wanted.push_back({pass.T() + i - done[s], static_cast<int>(s), i});
    }
    const auto tokens = batch[s].tokens.subspan(static_cast<std::size_t>(done[s]), static_cast<std::size_t>(count));
    pass.tokens.insert(pass.tokens.end(), tokens.begin(), tokens.end());
    done[s] += count;
  }
}

std::int64_t Model::forward(std::span<const SequenceInput> batch, ForwardObserver& observer) {
  const DefaultFloatEnvironment environment;
  impl_->check(batch);
  std::int64_t total = 0, fed = 0;
  try {
    for (const SequenceInput& input : batch) {
      total += std::ssize(input.tokens);
      Internals::of(*input.state).reserve(std::ssize(input.tokens), input.tentative);
    }
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kOutOfMemory,
                "latent cache: expected memory for " + std::to_string(total) + " more tokens, got none");
  }
  std::vector<std::int64_t> done(batch.size(), 0);
  std::optional<Profiler> counting;
  if (impl_->profile != nullptr) counting.emplace(*impl_->profile);
  Profiler* const profiler = counting ? &*counting : nullptr;
  while (fed < total) {
    impl_->fill_pass(batch, done);
    impl_->model.forward(impl_->pass, observer, profiler);
    fed += impl_->pass.T();
    if (!observer.on_progress(fed, total)) break;
  }
  return fed;
}

void Model::settle(SequenceState& state) {
  const DefaultFloatEnvironment environment;
  if (!state.has_value() || Internals::of(state).owner != impl_->identity)
    throw Error(ErrorCode::kInvalidArgument, "settle: expected a state of this model, got another or none");
  impl_->model.settle(Internals::of(state));
}

namespace {

/// Keeps the one row of logits it is given.
class LastLogits : public ForwardObserver {
 public:
  void on_logits(int, std::int64_t, std::span<const float> logits) override {
    row.assign(logits.begin(), logits.end());
  }
  std::vector<float> row;
};

}  // namespace

std::vector<float> Model::forward(SequenceState& state, std::span<const Token> tokens) {
  LastLogits last;
  const SequenceInput input{&state, tokens, WantLogits::kLast};
  forward({&input, 1}, last);
  return std::move(last.row);
}

void ForwardObserver::on_hidden(int, int, std::int64_t, std::span<const float>) {}
void ForwardObserver::on_router(int, int, std::int64_t, std::span<const std::int32_t>, std::span<const float>) {}
bool ForwardObserver::on_progress(std::int64_t, std::int64_t) { return true; }

}  // namespace kl
