#include "kl/engine.h"

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "base/memory_info.h"
#include "base/thread_name.h"
#include "engine/engine_loop.h"
#include "kl/error.h"
#include "kl/memory.h"
#include "kl/session.h"

namespace kl {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kLeastContext = 4096;  // where nobody gave one
constexpr auto kHeartbeat = 500ms;            // how often an idle engine says that it lives
constexpr std::string_view kSessionNote = R"({"kind": "slot"})";
constexpr auto kReaderPoll = 2ms;  // how often it looks whether a slow reader has read

void require(bool ok, const std::string& message) {
  if (!ok) throw Error(ErrorCode::kInvalidArgument, message);
}

class GenerationHandle : public Generation {
 public:
  GenerationHandle(std::uint64_t id, std::shared_ptr<Mailbox> mailbox) : id_(id), mailbox_(std::move(mailbox)) {}
  ~GenerationHandle() override { mailbox_->cancel(); }

  bool poll(EngineEvent& event) override { return mailbox_->take(event); }
  EngineEvent wait() override { return mailbox_->wait(); }
  bool over() const override { return mailbox_->over(); }
  void cancel() override { mailbox_->cancel(); }
  std::uint64_t id() const override { return id_; }

 private:
  const std::uint64_t id_;
  const std::shared_ptr<Mailbox> mailbox_;
};

/// What is available to an engine whose model is loaded: its repacked weights are in memory already.
std::size_t available_to(const MemoryPlan& plan) {
  const std::size_t available = available_bytes();
  return available > 0 ? available + plan.weights_copied : 0;
}

}  // namespace

EngineOptions resolve(EngineOptions options, const ModelArgs& args, const MemoryPlan& plan, std::size_t available) {
  require(options.parallel >= 1 && options.parallel <= 1024,
          "parallel: expected 1 to 1024 texts at once, got " + std::to_string(options.parallel));
  require(options.ctx_size >= 0, "ctx_size: expected a count of tokens, got " + std::to_string(options.ctx_size));
  require(options.max_queue >= 0, "max_queue: expected a count of requests, got " + std::to_string(options.max_queue));
  const int max_draft = options.speculate ? options.max_draft : 0;
  const auto plan_with = [&](std::int64_t ctx_size) {
    return plan_serving(plan, ctx_size, options.parallel, options.cache_bytes, max_draft);
  };
  if (options.cache_bytes == 0)
    options.cache_bytes = std::max<std::size_t>(1, default_cache_bytes(plan_with(1), available));
  if (options.ctx_size == 0) {  // what the model was trained for, or as much of it as leaves others an eighth
    options.ctx_size = std::max<std::int64_t>(args.model_max_length, kLeastContext);
    if (available > 0)
      options.ctx_size =
          std::max(kLeastContext, ctx_that_fits(plan, plan_with(1), available - available / 8, options.ctx_size));
  }
  require_memory(plan, plan_with(options.ctx_size), available);
  return options;
}

/// The thread and what it shares with callers.
struct Engine::Impl {
  Impl(Model model, const Tokenizer& t, const EngineOptions& o)
      : options(resolve(o, model.args(), model.memory_plan(), available_to(model.memory_plan()))),
        tokenizer(t),
        args(model.args()),
        plan(model.memory_plan()),
        loop(std::move(model), t, options) {
    publish();
    thread = std::thread([this] { work(); });
  }
  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_all();
    thread.join();
  }

  [[noreturn]] static void throw_over() {
    throw Error(ErrorCode::kFailure, "engine: expected it to run, but it has failed");
  }

  void work();
  void refuse_the_rest();
  void publish();
  void take_in();

  /// Runs `f(loop)` on the engine's thread between steps and returns its result.  Throws Error(kFailure) where the
  /// engine has failed.
  template <class F>
  auto ask(F f) {
    std::packaged_task<decltype(f(loop))()> task([&] {
      if (over) throw_over();
      return f(loop);
    });
    auto result = task.get_future();
    {
      const std::lock_guard lock(mutex);
      if (!published.healthy) throw_over();
      tasks.emplace_back([&task] { task(); });
    }
    wake.notify_all();
    return result.get();
  }

  /// Throws Error unless the slot exists and nobody is in it.
  void check_slot(const EngineLoop& running, int slot) const {
    require(slot >= 0 && slot < options.parallel,
            "slot: expected one from 0 to " + std::to_string(options.parallel - 1) + ", got " + std::to_string(slot));
    if (running.is_busy(slot)) throw Error(ErrorCode::kBusy, "slot " + std::to_string(slot) + ": is in use");
  }

  const EngineOptions options;
  const Tokenizer& tokenizer;
  const ModelArgs args;
  const MemoryPlan plan;

  mutable std::mutex mutex;
  std::condition_variable wake, idle;
  std::deque<std::shared_ptr<Submission>> inbox;
  std::deque<std::function<void()>> tasks;
  bool stopping = false, draining = false;
  bool over = false;  // of the thread alone: the loop has ended
  std::uint64_t next_id = 1, refused = 0;
  std::uint64_t layers_seen = 0;          // when somebody last looked, within a pass that takes long,
  Clock::time_point layers_seen_at = {};  // and when it was more than before
  EngineStats published;
  std::vector<SlotInfo> published_slots;

  EngineLoop loop;  // of the thread alone, but for beat()
  std::thread thread;
};

void Engine::Impl::work() {
  name_this_thread("kl-engine");
  try {
    while (true) {
      take_in();
      const bool worked = loop.step();
      publish();
      std::unique_lock lock(mutex);
      if (!worked) {
        wake.wait_for(lock, loop.waits_for_readers() ? kReaderPoll : kHeartbeat,
                      [&] { return stopping || !inbox.empty() || !tasks.empty(); });
      }
      if (stopping) break;
    }
    loop.end_all({});
  } catch (const std::exception& error) {
    loop.end_all(Error(ErrorCode::kFailure, std::string("engine: ") + error.what()));
  }
  over = true;
  refuse_the_rest();
}

/// Nobody will look at what came in since the last step.
void Engine::Impl::refuse_the_rest() {
  std::deque<std::shared_ptr<Submission>> submissions;
  std::deque<std::function<void()>> asked;
  {
    const std::lock_guard lock(mutex);
    published.healthy = false;
    submissions.swap(inbox);
    asked.swap(tasks);
  }
  for (const auto& task : asked) task();  // each throws to who asked
  for (const auto& submission : submissions) {
    EngineEvent event;
    event.kind = EngineEvent::Kind::kFailed;
    event.error = ErrorCode::kBusy;
    event.message = "engine: has stopped";
    submission->mailbox->put(std::move(event));
  }
  idle.notify_all();
}

void Engine::Impl::take_in() {
  std::deque<std::shared_ptr<Submission>> submissions;
  std::deque<std::function<void()>> asked;
  {
    const std::lock_guard lock(mutex);
    submissions.swap(inbox);
    asked.swap(tasks);
    published.waiting += std::ssize(submissions);  // until publish() says better
  }
  for (const auto& task : asked) task();
  for (auto& submission : submissions) loop.enqueue(std::move(submission));
}

void Engine::Impl::publish() {
  EngineStats stats = loop.stats();
  std::vector<SlotInfo> infos = loop.slots();
  const std::lock_guard lock(mutex);
  published = stats;
  published_slots = std::move(infos);
  if (loop.is_idle() && inbox.empty()) idle.notify_all();
}

Engine::Engine(Model model, const Tokenizer& tokenizer, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), tokenizer, options)) {}
Engine::~Engine() = default;

std::unique_ptr<Generation> Engine::submit(EngineRequest request, std::function<void()> notify) {
  const std::int64_t length = std::ssize(request.prompt), room = impl_->options.ctx_size;
  require(length > 0, "prompt: expected at least one token, got none");
  require(length < room || (length == room && request.options.max_tokens == 0),
          "prompt: expected fewer than " + std::to_string(room) + " tokens, got " + std::to_string(length));
  require(request.n >= 1 && request.n <= 128, "n: expected 1 to 128 texts, got " + std::to_string(request.n));
  require(
      request.slot < impl_->options.parallel,
      "slot: expected one below " + std::to_string(impl_->options.parallel) + ", got " + std::to_string(request.slot));
  require(request.score_from >= 1,
          "score_from: expected a position from 1 on, got " + std::to_string(request.score_from));
  for (const Token token : request.prompt)
    require(
        token >= 0 && token < impl_->args.vocab_size,
        "prompt: expected tokens in [0, " + std::to_string(impl_->args.vocab_size) + "), got " + std::to_string(token));
  Continuation(impl_->tokenizer, request.options, {}, impl_->loop.model().isa());  // throws for an impossible option

  auto submission = std::make_shared<Submission>();
  submission->mailbox = std::make_shared<Mailbox>(request.n, impl_->options.event_queue, std::move(notify));
  submission->request = std::move(request);
  {
    const std::lock_guard lock(impl_->mutex);
    const EngineStats& now = impl_->published;
    const auto waiting = std::ssize(impl_->inbox) + now.waiting;
    const auto room_for = impl_->options.max_queue + std::max<std::int64_t>(0, impl_->options.parallel - now.running);
    if (impl_->draining || impl_->stopping || !now.healthy || waiting >= room_for) {
      ++impl_->refused;
      throw Error(ErrorCode::kBusy, impl_->draining ? "engine: is shutting down"
                                                    : "engine: expected fewer than " + std::to_string(room_for) +
                                                          " requests waiting, got " + std::to_string(waiting));
    }
    submission->id = impl_->next_id++;
    impl_->inbox.push_back(submission);
  }
  impl_->wake.notify_all();
  return std::make_unique<GenerationHandle>(submission->id, submission->mailbox);
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(impl_->mutex);
  if (const std::uint64_t layers = impl_->loop.model().layers_done(); layers != impl_->layers_seen) {
    impl_->layers_seen = layers;
    impl_->layers_seen_at = Clock::now();
  }
  EngineStats stats = impl_->published;
  stats.waiting += std::ssize(impl_->inbox);
  stats.refused = impl_->refused;
  stats.last_progress = std::max(impl_->loop.beat(), impl_->layers_seen_at);
  return stats;
}

std::vector<SlotInfo> Engine::slots() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->published_slots;
}

Engine::SavedSession Engine::save_slot(int slot, const std::filesystem::path& file) {
  std::vector<ReadToken> text;
  auto states = impl_->ask([&](EngineLoop& loop) {
    impl_->check_slot(loop, slot);
    text = loop.last_text(slot);
    return loop.store().along(text);
  });
  require(!states.empty(), "slot " + std::to_string(slot) + ": expected a text of which something is kept, got none");
  text.resize(static_cast<std::size_t>(states.back()->num_tokens()));
  std::vector<const SequenceState*> checkpoints;
  for (const auto& state : states) checkpoints.push_back(state.get());
  const auto let_go = [&] { impl_->ask([&](EngineLoop&) { states.clear(); }); };
  try {
    const std::size_t bytes = save_session(file, impl_->loop.model(), {text, checkpoints, kSessionNote});
    let_go();
    return {std::ssize(text), bytes};
  } catch (...) {
    let_go();
    throw;
  }
}

Engine::SavedSession Engine::restore_slot(int slot, const std::filesystem::path& file) {
  SessionImage image = load_session(file, impl_->loop.model());
  const SavedSession restored{std::ssize(image.text), std::filesystem::file_size(file)};
  impl_->ask([&](EngineLoop& loop) {
    impl_->check_slot(loop, slot);
    for (SequenceState& state : image.checkpoints) {
      const auto read = std::span(image.text).first(static_cast<std::size_t>(state.num_tokens()));
      loop.store().keep(read, std::move(state));
    }
    loop.last_text(slot) = std::move(image.text);
    impl_->publish();  // whoever looks at slots() next sees it
  });
  return restored;
}

std::int64_t Engine::erase_slot(int slot) {
  return impl_->ask([&](EngineLoop& loop) {
    impl_->check_slot(loop, slot);
    std::vector<ReadToken>& text = loop.last_text(slot);
    const std::int64_t tokens = std::ssize(text);
    loop.store().forget(text);
    text.clear();
    impl_->publish();
    return tokens;
  });
}

bool Engine::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(impl_->mutex);
  impl_->draining = true;
  return impl_->idle.wait_for(lock, timeout, [&] {
    return !impl_->published.healthy ||
           (impl_->inbox.empty() && impl_->published.running + impl_->published.waiting == 0);
  });
}

const EngineOptions& Engine::options() const { return impl_->options; }
const ModelArgs& Engine::args() const { return impl_->args; }
const Tokenizer& Engine::tokenizer() const { return impl_->tokenizer; }
MemoryPlan Engine::memory_plan() const { return impl_->plan; }

}  // namespace kl
