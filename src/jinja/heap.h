#pragma once
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/macro.h"
#include "jinja/value.h"

namespace kl::jinja {

/// What one rendering may cost before it is refused.
struct Limits {
  std::size_t steps = 20'000'000;         ///< nodes evaluated, and bytes and items handled, 64 for a step
  std::size_t output_bytes = 16u << 20;   ///< also of any one string
  std::size_t memory_bytes = 256u << 20;  ///< strings alive, and lists, dicts and variables ever made
  std::size_t depth = 1000;               ///< statements, expressions and macros inside one another
  std::chrono::milliseconds time{10'000};
};

/// The variables of one scope.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> variables;
  bool is_captured = false;  // a macro refers to it
};

/// Owns what one rendering makes, and counts what it costs.
///
/// Strings and what a Held says are counted while they live.  All else lives as long as the heap, which is what makes
/// cycles harmless and destruction flat.
///
/// Throws Failure where a limit would be exceeded.
class Heap {
 public:
  explicit Heap(const Limits& limits);

  TextPtr text(Text text);
  TextPtr data(std::string bytes) { return text(Text::data(std::move(bytes))); }
  List* list(std::vector<Value> items = {});
  List* tuple(std::vector<Value> items);
  Dict* dict();
  Namespace* make_namespace();
  Loop* loop(std::vector<Value> items);
  Scope* scope(Scope* parent);
  const Macro* macro(Macro macro);

  /// Counts `units` of work: bytes copied, items visited.
  void work(std::size_t units) { step(units / 64 + 1); }
  void step(std::size_t count = 1);
  /// Counts `count` more values that a container holds.
  void grow(std::size_t count) { take(count * 2 * sizeof(Value)); }
  /// Throws if a string of this many bytes would be too long.
  void check_length(std::size_t bytes) const;

  /// What stands for something that was not found; `what` says what was looked for.
  Value undefined(std::string what) { return Value(Undefined{data(std::move(what))}); }

  /// Counts memory that is held while the object lives.
  class Held {
   public:
    explicit Held(Heap& heap) : heap_(heap) {}
    ~Held() { heap_.bytes_ -= bytes_; }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    void add(std::size_t bytes) {
      heap_.take(bytes);
      bytes_ += bytes;
    }
    void add_values(std::size_t count) { add(count * sizeof(Value)); }

   private:
    Heap& heap_;
    std::size_t bytes_ = 0;
  };

  /// Counts a level of what calls itself along a template, so that it ends before the stack does.
  class Level {
   public:
    explicit Level(Heap& heap);
    ~Level() { --heap_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Heap& heap_;
  };

  const Limits& limits() const { return limits_; }

 private:
  void take(std::size_t bytes);

  const Limits limits_;
  const std::chrono::steady_clock::time_point deadline_;
  std::size_t steps_ = 0;
  std::size_t next_look_ = 0;  // at the clock
  std::size_t bytes_ = 0;
  std::size_t depth_ = 0;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Namespace> namespaces_;
  std::deque<Loop> loops_;
  std::deque<Scope> scopes_;
  std::deque<Macro> macros_;
};

}  // namespace kl::jinja
