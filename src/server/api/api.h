#pragma once
#include <memory>
#include <vector>

#include "kl/chat_template.h"
#include "kl/structured.h"
#include "kl/tokenizer.h"
#include "server/api/context.h"
#include "server/api/workers.h"
#include "server/exchange/api_error.h"
#include "server/exchange/route.h"

namespace kl {

/// The endpoints of `kl serve`: OpenAI's, Anthropic's and llama.cpp's.  docs/api.md says what they take and give.
///
/// Role      between HTTP, which is behind Exchange, and the engine, which is behind Backend.
/// Threads   endpoints run on the I/O thread; requests are read by worker threads of the Api's own.
/// Lifetime  replies in the making refer to the Api and to the exchange.  To end: let every exchange end or lose its
///           client (HttpServer::cut_short), let the I/O thread return, stop() the Api, destroy the HTTP server with its
///           exchanges, then the Api, then the engine.
class Api {
 public:
  /// What is passed by reference must outlive the Api.  Throws std::system_error if threads cannot be had.
  Api(std::unique_ptr<Backend> backend, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
      GrammarCompiler& grammars, ApiOptions options);

  /// Everything there is to answer but health, metrics and pages.
  std::vector<Route> routes();

  /// Waits for the requests that are being read, and reads no more.
  void stop();

 private:
  Endpoint endpoint(ErrorSchema schema, Handler handler);

  ApiContext context_;
  std::unique_ptr<Workers> workers_;
};

}  // namespace kl
