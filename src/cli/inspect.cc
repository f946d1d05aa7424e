// kl inspect: what a model folder is, what it needs, what is wrong with it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/printable.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/json_text.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "cli/plan_report.h"
#include "cli/quantities.h"
#include "cli/tokenizer_problem.h"
#include "kl/gguf.h"
#include "kl/inspect.h"
#include "kl/model.h"

namespace kl::cli {
namespace {

constexpr int kMaxSlots = 4096;

struct InspectFlags {
  std::string dir;
  std::int64_t context = 4096;
  bool plan = false;
  int slots = 4;
  std::size_t cache_bytes = 0;
  ModelOptions options;
  bool tensors = false;
  bool json = false;
};

void define(CLI::App& command, InspectFlags& flags) {
  add_model_flag(command, flags.dir);
  add_ctx_flag(command, flags.context, "-c,--ctx-size,--context", "tokens of a sequence, for its memory");
  command.add_flag("--plan", flags.plan, "the memory of a server, part by part, and whether this machine has it");
  add_number(command, "--slots,--parallel", flags.slots, 1, kMaxSlots, "of --plan: texts at a time");
  add_cache_bytes_flag(command, flags.cache_bytes);
  add_engine_flags(command, flags.options);
  command.add_flag("--tensors", flags.tensors, "list every tensor");
  command.add_flag("--json", flags.json, "one object instead of the table");
}

const char* name_of(LayerKind kind) { return kind == LayerKind::kKda ? "KDA" : "MLA"; }
const char* name_of(FeedForwardKind kind) { return kind == FeedForwardKind::kDense ? "dense" : "MoE"; }
const char* name_of(RouterActivation kind) { return kind == RouterActivation::kSigmoid ? "sigmoid" : "softmax"; }

// --- for people ------------------------------------------------------------------------------------------------------

/// A row of the table: what it is about, then the fact.
std::string row(const char* subject, const std::string& fact) {
  return fmt::format("  {:<12} {}\n", subject, printable_lines(fact));
}

/// What the dimensions are read from.
const char* source_of(const ModelReport& report) { return is_gguf(report.path) ? "the metadata" : "config.json"; }

std::string dimensions(const ModelArgs& a, const char* source) {
  std::string kinds;
  for (const LayerKind kind : a.layer_kinds) kinds += kind == LayerKind::kKda ? " K" : " M";
  std::string text = row("layers", fmt::format("{}:{} (K = KDA, M = MLA)", a.num_hidden_layers, kinds));
  text += row("width", fmt::format("{}; vocabulary {}", grouped(a.hidden_size), grouped(a.vocab_size)));
  if (a.num_layers_of(LayerKind::kKda) > 0) {
    text += row("KDA", fmt::format("{} heads of {}, convolution over {} tokens", a.kda_num_heads, a.kda_head_dim,
                                   a.kda_conv_size));
  }
  if (a.num_layers_of(LayerKind::kMla) > 0) {
    text += row("MLA",
                fmt::format("{} heads, keys {} + {}, values {}, cached latent {} + {}", a.num_attention_heads,
                            a.qk_nope_head_dim, a.qk_rope_head_dim, a.v_head_dim, a.kv_lora_rank, a.qk_rope_head_dim));
  }
  if (a.num_experts > 0) {
    text += row("MoE", fmt::format("{} of {} experts of width {}, {} shared, {} scores, scaled by {}",
                                   a.num_experts_per_token, a.num_experts, a.moe_intermediate_size,
                                   a.num_shared_experts, name_of(a.router_activation), a.routed_scaling_factor));
  }
  if (a.model_max_length > 0)
    text += row("context", fmt::format("up to {} tokens, says {}", grouped(a.model_max_length), source));
  return text;
}

double bits_per_weight(const EncodingReport& e) {
  return 8 * static_cast<double>(e.bytes) / static_cast<double>(e.weights);
}

std::string files(const ModelReport& report) {
  std::string text = row("naming", report.naming);
  for (const FileReport& file : report.files) {
    text += row("file", fmt::format("{}: {}, {} tensors", file.name, bytes_text(file.bytes), grouped(file.tensors)));
  }
  for (const EncodingReport& e : report.encodings) {
    text += row("encoding",
                fmt::format("{}: {} matri{}, {} weights in {:.2f} bits each, held as {}", e.name, grouped(e.matrices),
                            e.matrices == 1 ? "x" : "ces", grouped(e.weights), bits_per_weight(e), e.held_as));
  }
  for (const auto& [dtype, part] : report.dtypes) {
    text += row("type", fmt::format("{}: {} in {} tensors", dtype, bytes_text(part.bytes), grouped(part.tensors)));
  }
  return text;
}

std::string memory(const ModelReport& report, const std::optional<MemoryPlan>& plan, std::int64_t context) {
  std::string text;
  if (report.has_weights) {
    text += row("memory", fmt::format("weights: {} used in place, {} converted", bytes_text(report.weights_mapped),
                                      bytes_text(report.weights_copied)));
  }
  text += row("memory", fmt::format("a sequence of {} tokens: {} ({} + {} per token)", grouped(context),
                                    bytes_text(report.state_bytes(context)), bytes_text(report.state_fixed),
                                    bytes_text(report.state_per_token)));
  if (plan) {
    text +=
        row("memory", fmt::format("a pass of up to {} tokens: {} of scratch ({} thread{})", grouped(plan->chunk_tokens),
                                  bytes_text(plan->scratch), plan->threads, plan->threads == 1 ? "" : "s"));
  }
  return text;
}

std::string layer_table(const ModelReport& report) {
  std::string text = "\n  layer  attention  feed-forward      parameters\n";
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    const LayerReport& layer = report.layers[i];
    text += fmt::format("  {:>5}  {:<9}  {:<12}  {:>14}\n", i, name_of(layer.attention), name_of(layer.feed_forward),
                        grouped(layer.parameters));
  }
  return text;
}

std::string tensor_table(const ModelReport& report) {
  std::string text = "\n";
  for (const TensorReport& t : report.tensors) {
    text += fmt::format("  {}  {} [{}]  {}  {}\n", printable(t.name), t.dtype, fmt::join(t.shape, ", "),
                        bytes_text(t.bytes), report.files[t.file].name);
  }
  return text;
}

std::string table(const ModelReport& report, const std::optional<MemoryPlan>& plan,
                  const std::optional<PlanReport>& serving, const InspectFlags& flags) {
  std::string text = printable_lines(report.path) + '\n';
  if (report.args) {
    text += dimensions(*report.args, source_of(report));
    text += row("parameters", fmt::format("{}, {} of them at work for a token", grouped(report.config_parameters),
                                          grouped(report.active_parameters)));
    text += row("tensors", fmt::format("{} by {}", grouped(report.config_tensors), source_of(report)));
    text += report.has_weights ? files(report) : row("weights", "none here");
    text += memory(report, plan, flags.context);
  }
  if (serving) text += table_of(*serving);
  text += row("kernels", fmt::format("{} (of {})", chosen_isa(), fmt::join(available_isas(), ", ")));
  for (const std::string& note : report.notes) text += row("note", note);
  for (const std::string& problem : report.problems) text += row("PROBLEM", problem);
  if (report.problems.empty()) text += row("problems", "none");
  text += layer_table(report);
  if (flags.tensors) text += tensor_table(report);
  return text;
}

// --- for scripts -----------------------------------------------------------------------------------------------------

using OrderedJson = nlohmann::ordered_json;

OrderedJson list_of_layers(const ModelReport& report) {
  OrderedJson list = OrderedJson::array();
  for (const LayerReport& layer : report.layers) {
    list.push_back({{"attention", name_of(layer.attention)},
                    {"feed_forward", name_of(layer.feed_forward)},
                    {"parameters", layer.parameters}});
  }
  return list;
}

OrderedJson list_of_files(const ModelReport& report) {
  OrderedJson list = OrderedJson::array();
  for (const FileReport& f : report.files) {
    list.push_back({{"name", f.name}, {"bytes", f.bytes}, {"tensors", f.tensors}});
  }
  return list;
}

OrderedJson list_of_tensors(const ModelReport& report) {
  OrderedJson list = OrderedJson::array();
  for (const TensorReport& t : report.tensors) {
    list.push_back({{"name", t.name},
                    {"dtype", t.dtype},
                    {"shape", t.shape},
                    {"bytes", t.bytes},
                    {"file", report.files[t.file].name}});
  }
  return list;
}

OrderedJson list_of_encodings(const ModelReport& report) {
  OrderedJson list = OrderedJson::array();
  for (const EncodingReport& e : report.encodings) {
    list.push_back({{"name", e.name},
                    {"matrices", e.matrices},
                    {"weights", e.weights},
                    {"bytes", e.bytes},
                    {"bits_per_weight", bits_per_weight(e)},
                    {"held_as", e.held_as}});
  }
  return list;
}

OrderedJson object(const ModelReport& report, const std::optional<MemoryPlan>& plan,
                   const std::optional<PlanReport>& serving, const InspectFlags& flags) {
  OrderedJson json = {{"path", report.path}, {"config", nullptr}};
  if (report.args) json["config"] = OrderedJson::parse(report.args->to_json());
  json["parameters"] = report.config_parameters;
  json["active_parameters"] = report.active_parameters;
  json["tensors"] = report.config_tensors;
  json["layers"] = list_of_layers(report);
  json["weights"] = nullptr;
  if (report.has_weights) {
    OrderedJson dtypes = OrderedJson::object();
    for (const auto& [dtype, part] : report.dtypes) dtypes[dtype] = {{"tensors", part.tensors}, {"bytes", part.bytes}};
    json["weights"] = {{"naming", report.naming},
                       {"parameters", report.file_parameters},
                       {"tensors", report.tensors.size()},
                       {"tensor_bytes", report.tensor_bytes},
                       {"dtypes", dtypes},
                       {"encodings", list_of_encodings(report)},
                       {"files", list_of_files(report)}};
  }
  json["memory"] = {{"weights_mapped", report.weights_mapped},
                    {"weights_copied", report.weights_copied},
                    {"state_fixed", report.state_fixed},
                    {"state_per_token", report.state_per_token},
                    {"context", flags.context},
                    {"state_at_context", report.state_bytes(flags.context)}};
  if (plan) {
    json["memory"]["scratch"] = plan->scratch;
    json["memory"]["chunk"] = plan->chunk_tokens;
    json["memory"]["threads"] = plan->threads;
  }
  if (serving) json["plan"] = OrderedJson::parse(json_of(*serving));
  json["isa"] = chosen_isa();
  json["available_isas"] = available_isas();
  json["notes"] = report.notes;
  json["problems"] = report.problems;
  if (flags.tensors) json["tensor_list"] = list_of_tensors(report);
  return json;
}

/// For a sound folder: its memory with the caller's flags, which replaces the report's.
std::optional<MemoryPlan> plan_for(const std::filesystem::path& path, const ModelOptions& options,
                                   ModelReport& report) {
  if (!report.has_weights || !report.problems.empty()) return {};
  const MemoryPlan plan = plan_memory(path, options);
  report.weights_mapped = static_cast<std::int64_t>(plan.weights_mapped);
  report.weights_copied = static_cast<std::int64_t>(plan.weights_copied);
  report.state_fixed = static_cast<std::int64_t>(plan.state_fixed);
  report.state_per_token = static_cast<std::int64_t>(plan.state_per_token);
  return plan;
}

int run_inspect(const InspectFlags& flags) {
  // A lone config.json will do as well as a folder.
  std::error_code ignored;
  const bool is_file = std::filesystem::is_regular_file(flags.dir, ignored);
  const std::filesystem::path path = is_file ? std::filesystem::path(flags.dir) : find_model(flags.dir);
  const std::size_t program = flags.plan ? program_bytes(path) : 0;
  ModelReport report = inspect(path);
  if (const auto problem = tokenizer_problem(path); problem && report.args) {
    if (report.problems.empty()) report.problem_code = problem->code();
    report.problems.emplace_back(problem->what());
  }
  const std::optional<MemoryPlan> plan = plan_for(path, flags.options, report);
  std::optional<PlanReport> serving;
  if (flags.plan && plan) {
    serving = plan_report(*plan, flags.context, flags.slots, flags.cache_bytes, program);
  }
  Output output;
  output.write(flags.json ? to_line(object(report, plan, serving, flags)) : table(report, plan, serving, flags));
  output.flush();
  if (report.problems.empty()) return kExitOk;
  throw Error(report.problem_code, fmt::format("{}: expected a model that can be run, got {} problem{}", report.path,
                                               report.problems.size(), report.problems.size() == 1 ? "" : "s"));
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  add_command<InspectFlags>(app, action, "inspect", "Show what a model folder holds and needs",
                            "  kl inspect\n"
                            "  kl inspect --plan -c 131072 --slots 4",
                            define, run_inspect);
}

}  // namespace kl::cli
