#include "jinja/from_json.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/json.h"

namespace kl::jinja {
namespace {

class Builder final : public JsonEvents {
 public:
  Builder(const Variable& variable, Heap& heap) : variable_(variable), heap_(heap) {}

  void null() override { put(Value(None{})); }
  void boolean(bool value) override { put(Value(value)); }
  void integer(std::int64_t value) override { put(Value(value)); }
  void unsigned_integer(std::uint64_t value) override {
    const bool fits = value <= std::uint64_t{INT64_MAX};
    put(fits ? Value(static_cast<std::int64_t>(value)) : big(std::to_string(value)));
  }
  void number(double value) override { put(Value(value)); }
  void large_integer(std::string_view digits) override { put(big(std::string(digits))); }
  void string(std::string&& value) override { put(text(std::move(value))); }
  void begin_object() override { open_.push_back({true, {}, {}, {}}); }
  void key(std::string&& name) override { open_.back().key = text(std::move(name)); }
  void begin_array() override { open_.emplace_back(); }

  void end_array() override {
    List* list = heap_.list(std::move(open_.back().items));
    open_.pop_back();
    put(Value(list));
  }

  void end_object() override {
    std::vector<Dict::Entry> entries = std::move(open_.back().entries);
    open_.pop_back();
    if (variable_.sorts_keys) {
      std::sort(entries.begin(), entries.end(), [](const Dict::Entry& a, const Dict::Entry& b) {
        return a.first.text()->bytes() < b.first.text()->bytes();
      });
    }
    Dict* dict = heap_.dict();
    heap_.grow(4 * entries.size());
    for (auto& [key, value] : entries) dict->put(key, std::move(value));
    put(Value(dict));
  }

  Value take() { return std::move(root_); }

 private:
  struct Container {
    bool is_object = false;
    std::vector<Dict::Entry> entries;
    std::vector<Value> items;
    Value key;  // of the entry being read
  };

  Value text(std::string bytes) {
    return Value(heap_.text(variable_.is_own ? Text::own(std::move(bytes)) : Text::data(std::move(bytes))));
  }
  Value big(std::string digits) { return Value(BigInteger{heap_.data(std::move(digits))}); }

  void put(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Container& top = open_.back(); top.is_object) {
      top.entries.emplace_back(std::move(top.key), std::move(value));
    } else {
      top.items.push_back(std::move(value));
    }
  }

  const Variable& variable_;
  Heap& heap_;
  std::vector<Container> open_;
  Value root_;
};

}  // namespace

Value from_json(const Variable& variable, Heap& heap) {
  Builder builder(variable, heap);
  parse_json_events(variable.json, variable.name, builder);
  return builder.take();
}

}  // namespace kl::jinja
