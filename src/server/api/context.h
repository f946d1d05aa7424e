#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "kl/chat_template.h"
#include "kl/sampler.h"
#include "kl/structured.h"
#include "kl/tokenizer.h"
#include "server/api/backend.h"
#include "server/exchange/exchange.h"

namespace kl {

class Metrics;

/// How the endpoints behave: flags of `kl serve`.
struct ApiOptions {
  std::string model_name;                    ///< --alias, or the name of the model's folder
  std::string model_path;                    ///< for /props
  bool strict = false;                       ///< refuse fields nobody knows and names of other models
  bool slots = true;                         ///< answer GET /slots
  std::filesystem::path slot_save_path;      ///< where sessions are saved; empty: they are not
  SamplingParams sampling;                   ///< for requests that say nothing
  std::chrono::milliseconds time_limit{0};   ///< most time for one request; 0: any
  std::size_t max_chat_body = 16u << 20;     ///< bytes of a request with a prompt
  std::size_t max_other_body = 64u << 10;    ///< bytes of any other
  std::size_t max_stored_bytes = 64u << 20;  ///< conversations kept for previous_response_id
  int workers = 2;                           ///< threads that read requests
  Metrics* metrics = nullptr;                ///< told what texts cost; may be none
};

class ResponseStore;

/// What endpoints share.  Everything here may be used from any thread.
struct ApiContext {
  std::unique_ptr<Backend> backend;
  const Tokenizer* tokenizer;
  const ChatTemplate* chat_template;
  GrammarCompiler* grammars;
  ApiOptions options;
  std::shared_ptr<ResponseStore> responses;
  std::int64_t created = 0;  ///< when the server started, Unix time
};

/// What is to be done with an exchange, on the I/O thread.  May throw ApiError or Error: that is the reply.
using Answer = std::function<void(const std::shared_ptr<Exchange>&)>;

/// Reads a request, on a worker.  May throw ApiError or Error: that is the reply.
using Handler = std::function<Answer(const HttpRequest&)>;

/// "chatcmpl-4kq0...": `prefix` and 24 characters nobody can guess the next of by counting.  Any thread.
std::string new_id(std::string_view prefix);

/// A seed for a request that names none.  Any thread.
std::uint64_t new_seed();

/// Seconds since 1970.
std::int64_t unix_time();

/// What replies say the program is: "b0.1.0-kl"; llama.cpp's clients look for the b.
std::string fingerprint();

/// Throws ApiError 404 if the server is strict and `name` is not empty and not the model's.
void check_model_name(const ApiContext& context, std::string_view name);

}  // namespace kl
