#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kl/engine.h"
#include "server/api/context.h"
#include "server/api/json.h"
#include "server/api/meter.h"
#include "server/exchange/api_error.h"

namespace kl {

/// Answers with status 200 and `body`.
Answer answer_with(const OrderedJson& body);

/// One request being answered: takes events from the engine and hands them to the dialect of an API, which a subclass
/// is.
///
/// Ends   when every text is over, at the first failure, or when the client has gone: then the engine stops at once.
/// Slow clients   no event is taken while the exchange is full, so the engine's queue fills and the text pauses.
/// Threads   the I/O thread only.
class Reply : public std::enable_shared_from_this<Reply> {
 public:
  virtual ~Reply() { hang_up(); }

  /// Submits the requests and, for a stream, begins it.  Throws what Engine::submit throws; nothing was sent then.
  void start(std::vector<EngineRequest> requests);

 protected:
  Reply(const ApiContext& context, std::shared_ptr<Exchange> exchange, bool stream, ErrorSchema schema)
      : context_(context),
        exchange_(std::move(exchange)),
        stream_(stream),
        schema_(schema),
        line_(new Line{{}, exchange_.get()}) {}

  /// The stream has begun.
  virtual void on_begin() {}

  /// An event of request `prompt`, never kFailed.  The answer says whether that text is over, as seen from here.
  virtual bool on_event(std::size_t prompt, const EngineEvent& event) = 0;

  /// Every text is over: the last words of a stream, or the whole reply.
  virtual void on_over() = 0;

  /// A stream fails: what it says before it ends.
  virtual void on_error(const ApiError& error);

  bool stream() const { return stream_; }
  const ApiContext& context() const { return context_; }

  /// "data: JSON", and with `event` "event: NAME" before it.
  void send(const OrderedJson& data, std::string_view event = {});
  void send_done();  ///< "data: [DONE]"
  void reply(const OrderedJson& body);

 private:
  struct Source {
    std::unique_ptr<Generation> generation;  // null once over
    std::vector<bool> is_over;               // one per text
    Meter meter;
  };

  /// How the engine's thread reaches the I/O thread: not at all once the reply has ended, for then the server may end.
  struct Line {
    std::mutex mutex;
    Exchange* exchange;  // guarded by mutex; null once hung up
  };

  void submit(EngineRequest request);
  void hang_up();
  void pump();
  void take(std::size_t prompt, const EngineEvent& event);
  void fail(const ApiError& error);
  void finish();
  bool all_over() const;

  const ApiContext& context_;
  std::shared_ptr<Exchange> exchange_;
  const bool stream_;
  const ErrorSchema schema_;
  const std::shared_ptr<Line> line_;
  std::vector<Source> sources_;
  bool finished_ = false;
};

}  // namespace kl
