#include "jinja/heap.h"

#include <fmt/format.h>

#include "jinja/failure.h"

namespace kl::jinja {
Heap::Heap(const Limits& limits) : limits_(limits), deadline_(std::chrono::steady_clock::now() + limits.time) {}

void Heap::take(std::size_t bytes) {
  if (bytes > limits_.memory_bytes - bytes_) {
    fail(fmt::format("expected a template that needs at most {} bytes of memory", limits_.memory_bytes));
  }
  bytes_ += bytes;
}

void Heap::step(std::size_t count) {
  if (count > limits_.steps - steps_) {
    fail(fmt::format("expected a template that ends within {} steps", limits_.steps));
  }
  steps_ += count;
  if (steps_ < next_look_) return;
  next_look_ = steps_ + 256;
  if (std::chrono::steady_clock::now() < deadline_) return;
  fail(fmt::format("expected a template that ends within {} ms", limits_.time.count()));
}

Heap::Level::Level(Heap& heap) : heap_(heap) {
  heap.step();
  if (heap.depth_ >= heap.limits_.depth) fail(fmt::format("expected calls at most {} levels deep", heap.limits_.depth));
  ++heap.depth_;
}

void Heap::check_length(std::size_t bytes) const {
  if (bytes <= limits_.output_bytes) return;
  fail(fmt::format("expected a text of at most {} bytes, got a longer one", limits_.output_bytes));
}

TextPtr Heap::text(Text text) {
  check_length(text.size());
  work(text.size());
  const std::size_t bytes = sizeof(Text) + 2 * text.size();
  take(bytes);
  return {new Text(std::move(text)), [this, bytes](const Text* dead) {
            bytes_ -= bytes;
            delete dead;
          }};
}

List* Heap::list(std::vector<Value> items) {
  work(items.size());
  grow(items.size() + 2);
  lists_.push_back({std::move(items), false});
  return &lists_.back();
}

List* Heap::tuple(std::vector<Value> items) {
  List* made = list(std::move(items));
  made->is_tuple = true;
  return made;
}

Dict* Heap::dict() {
  step();
  grow(4);
  return &dicts_.emplace_back();
}

Namespace* Heap::make_namespace() {
  step();
  grow(4);
  return &namespaces_.emplace_back();
}

Loop* Heap::loop(std::vector<Value> items) {
  work(items.size());
  grow(items.size() + 4);
  Loop& made = loops_.emplace_back();
  made.items = std::move(items);
  return &made;
}

Scope* Heap::scope(Scope* parent) {
  step();
  grow(4);
  Scope& made = scopes_.emplace_back();
  made.parent = parent;
  return &made;
}

const Macro* Heap::macro(Macro macro) {
  step();
  grow(4);
  macros_.push_back(std::move(macro));
  return &macros_.back();
}

}  // namespace kl::jinja
