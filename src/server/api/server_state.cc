#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "server/api/endpoints.h"
#include "server/api/fields.h"
#include "server/api/llama_settings.h"
#include "server/api/reply.h"
#include "server/exchange/api_error.h"

namespace kl {
namespace {

std::string query_value(const HttpRequest& http, std::string_view name) {
  for (const auto& [key, value] : http.query) {
    if (key == name) return value;
  }
  return {};
}

/// What follows the last '/' but `prefix` of a path: the part in braces of its route.
std::string last_part(const HttpRequest& http, std::string_view prefix) {
  const std::size_t at = http.path.find(prefix);
  return at == std::string::npos ? std::string() : http.path.substr(at + prefix.size());
}

OrderedJson model_json(const ApiContext& context) {
  const ModelArgs& args = context.backend->args();
  return {{"id", context.options.model_name},
          {"object", "model"},
          {"created", context.created},
          {"owned_by", "kl"},
          {"meta",
           {{"n_vocab", args.vocab_size},
            {"n_embd", args.hidden_size},
            {"n_layer", args.num_hidden_layers},
            {"n_ctx", context.backend->options().ctx_size},
            {"n_ctx_train", args.model_max_length}}}};
}

OrderedJson default_settings(const ApiContext& context) {
  GenerateOptions options;
  options.sampling = context.options.sampling;
  options.sampling.repetition_context = 0;
  OrderedJson params = llama_settings(*context.tokenizer, options, -1, false);
  params["seed"] = 4294967295u;  // llama.cpp's word for "a new one each time"
  return {{"id", 0},
          {"id_task", -1},
          {"n_ctx", context.backend->options().ctx_size},
          {"speculative", context.backend->options().speculate},
          {"is_processing", false},
          {"params", std::move(params)},
          {"prompt", ""},
          {"next_token", OrderedJson::array({{{"has_next_token", true},
                                              {"has_new_line", false},
                                              {"n_remain", -1},
                                              {"n_decoded", 0},
                                              {"stopping_word", ""}}})}};
}

OrderedJson slot_json(const ApiContext& context, const SlotInfo& slot) {
  return {
      {"id", slot.id},
      {"id_task", slot.request},
      {"n_ctx", slot.ctx_size},
      {"speculative", context.backend->options().speculate},
      {"is_processing", slot.busy},
      {"n_prompt_tokens", slot.prompt_tokens},
      {"n_prompt_tokens_processed", slot.prompt_done},
      {"next_token",
       OrderedJson::array({{{"has_next_token", slot.busy}, {"n_remain", -1}, {"n_decoded", slot.generated_tokens}}})}};
}

int read_slot_id(const ApiContext& context, const HttpRequest& http) {
  const std::string text = last_part(http, "/slots/");
  int id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  const int parallel = context.backend->options().parallel;
  if (error != std::errc() || end != text.data() + text.size() || id < 0 || id >= parallel) {
    refuse_field("id_slot", fmt::format("expected a slot from 0 to {}, got \"{}\"", parallel - 1, printable(text, 32)));
  }
  return id;
}

/// A file in the folder for sessions, nowhere else.
std::filesystem::path read_filename(const ApiContext& context, const HttpRequest& http) {
  if (context.options.slot_save_path.empty()) {
    throw ApiError{.status = 501, .message = "this server saves no slots: it was started without --slot-save-path"};
  }
  const OrderedJson json = parse_body(http.body);
  const Fields body(json, Body::kSlotFile, "", context.options.strict);
  const std::optional<std::string> name = body.text("filename");
  if (!name) body.refuse("filename", "expected a string, got nothing");
  const bool plain = (*name)[0] != '.' && std::all_of(name->begin(), name->end(), [](unsigned char c) {
                       return c < 128 && (std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-');
                     });
  if (!plain) {
    body.refuse("filename",
                fmt::format("expected letters, digits, '.', '_' and '-', no dot first, got \"{}\"", printable(*name)));
  }
  return context.options.slot_save_path / *name;
}

/// Runs what touches a session's file; errors name the file, not where the server keeps it, and are the client's if the
/// file is.
template <class Work>
auto with_file(const std::filesystem::path& file, const Work& work) {
  try {
    return work(file);
  } catch (const Error& error) {
    ApiError refusal = to_api_error(error);
    const std::string folder = file.parent_path().string() + "/";
    for (std::size_t at; (at = refusal.message.find(folder)) != std::string::npos;)
      refusal.message.erase(at, folder.size());
    const bool is_missing = error.code() == ErrorCode::kNotFound;
    if (is_missing || error.code() == ErrorCode::kCorrupt || error.code() == ErrorCode::kUnsupported) {
      refusal.status = is_missing ? 404 : 400;
      refusal.param = "filename";
    }
    throw refusal;
  }
}

OrderedJson save_or_restore(const ApiContext& context, const HttpRequest& http, int slot, bool save) {
  const std::filesystem::path file = read_filename(context, http);
  const auto start = std::chrono::steady_clock::now();
  const Engine::SavedSession session = with_file(file, [&](const std::filesystem::path& path) {
    return save ? context.backend->save_slot(slot, path) : context.backend->restore_slot(slot, path);
  });
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return {{"id_slot", slot},
          {"filename", file.filename().string()},
          {save ? "n_saved" : "n_restored", session.tokens},
          {save ? "n_written" : "n_read", session.bytes},
          {"timings", {{save ? "save_ms" : "restore_ms", ms}}}};
}

}  // namespace

Handler models_handler(const ApiContext& context) {
  return [&context](const HttpRequest&) {
    return answer_with({{"object", "list"}, {"data", OrderedJson::array({model_json(context)})}});
  };
}

Handler model_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) {
    const std::string name = last_part(http, "/models/");
    if (name == context.options.model_name) return answer_with(model_json(context));
    throw ApiError{
        .status = 404,
        .message = fmt::format("model: expected \"{}\", got \"{}\"", context.options.model_name, printable(name)),
        .param = "model",
        .code = "model_not_found"};
  };
}

Handler props_handler(const ApiContext& context) {
  return [&context](const HttpRequest&) {
    const Tokenizer& tokenizer = *context.tokenizer;
    const auto stops = tokenizer.stop_tokens();
    const Token bos = tokenizer.special_id("[BOS]");
    return answer_with({{"default_generation_settings", default_settings(context)},
                        {"total_slots", context.backend->options().parallel},
                        {"model_alias", context.options.model_name},
                        {"model_path", context.options.model_path},
                        {"chat_template", context.chat_template->source()},
                        {"bos_token", bos >= 0 ? tokenizer.decode(std::span(&bos, 1)) : std::string()},
                        {"eos_token", stops.empty() ? std::string() : tokenizer.decode(stops.first(1))},
                        {"modalities", {{"vision", false}, {"audio", false}}},
                        {"build_info", fingerprint()},
                        {"is_sleeping", false}});
  };
}

Handler slots_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) {
    if (!context.options.slots) throw ApiError{.status = 501, .message = "this server does not show its slots"};
    const std::vector<SlotInfo> slots = context.backend->slots();
    const auto busy = [](const SlotInfo& slot) { return slot.busy; };
    if (query_value(http, "fail_on_no_slot") == "1" && std::all_of(slots.begin(), slots.end(), busy)) {
      throw ApiError{.status = 503, .message = "no slot is free"};
    }
    OrderedJson array = OrderedJson::array();
    for (const SlotInfo& slot : slots) array.push_back(slot_json(context, slot));
    return answer_with(array);
  };
}

Handler slot_action_handler(const ApiContext& context) {
  return [&context](const HttpRequest& http) {
    const int slot = read_slot_id(context, http);
    const std::string action = query_value(http, "action");
    if (action == "save") return answer_with(save_or_restore(context, http, slot, true));
    if (action == "restore") return answer_with(save_or_restore(context, http, slot, false));
    if (action == "erase") {
      if (!http.body.empty()) {
        const OrderedJson json = parse_body(http.body);
        const Fields checked(json, Body::kSlotFile, "", context.options.strict);
      }
      return answer_with({{"id_slot", slot}, {"n_erased", context.backend->erase_slot(slot)}});
    }
    refuse_field("action", fmt::format("expected one of save, restore, erase, got \"{}\"", printable(action, 32)));
  };
}

}  // namespace kl
