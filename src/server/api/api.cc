#include "server/api/api.h"

#include <utility>

#include "server/api/response_store.h"
#include "server/api/route_table.h"

namespace kl {

Api::Api(std::unique_ptr<Backend> backend, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
         GrammarCompiler& grammars, ApiOptions options)
    : context_{.backend = std::move(backend),
               .tokenizer = &tokenizer,
               .chat_template = &chat_template,
               .grammars = &grammars,
               .options = std::move(options),
               .created = unix_time()} {
  context_.responses = std::make_shared<ResponseStore>(context_.options.max_stored_bytes);
  // As many may wait to be read as may wait for the engine, and some, for the engine may want none to wait.
  constexpr std::size_t kSome = 64;
  const auto max_waiting = static_cast<std::size_t>(context_.backend->options().max_queue) + kSome;
  workers_ = std::make_unique<Workers>(context_.options.workers, max_waiting);
}

std::vector<Route> Api::routes() {
  std::vector<Route> routes;
  for (const RouteRow& row : route_table()) {
    const std::size_t max_body = row.is_long ? context_.options.max_chat_body : context_.options.max_other_body;
    const Endpoint answer = endpoint(row.errors, row.handler(context_));
    routes.push_back({row.method, row.path, answer, max_body});
    if (row.alias) routes.push_back({row.method, row.alias, answer, max_body});
  }
  return routes;
}

void Api::stop() { workers_.reset(); }

Endpoint Api::endpoint(ErrorSchema schema, Handler handler) {
  // A worker reads the request; what is to be done with the exchange, the I/O thread does.
  return [this, schema,
          handler = std::make_shared<const Handler>(std::move(handler))](std::shared_ptr<Exchange> exchange) {
    Exchange& here = *exchange;
    const bool accepted = workers_ && workers_->run([schema, handler, exchange]() mutable {
      Answer answer;
      try {
        if (exchange->is_open()) answer = (*handler)(exchange->request());  // else nobody waits for it any more
      } catch (...) {
        answer = [error = current_api_error(), schema](const std::shared_ptr<Exchange>& to) {
          reply_error(*to, error, schema);
        };
      }
      Exchange& target = *exchange;  // the last reference must die in the I/O thread, so it moves there
      target.post([schema, answer = std::move(answer), exchange = std::move(exchange)] {
        if (exchange->is_open()) answer_errors(*exchange, schema, [&] { answer(exchange); });
      });
    });
    if (!accepted) {
      reply_error(here, {.status = 429, .message = "too many requests are waiting to be read", .code = "server_busy"},
                  schema);
    }
  };
}

}  // namespace kl
