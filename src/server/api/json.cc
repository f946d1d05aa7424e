#include "server/api/json.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/json.h"
#include "base/printable.h"
#include "server/exchange/api_error.h"

namespace kl {
namespace {

constexpr JsonLimits kBodyLimits{.max_depth = 64, .max_elements = 4'000'000};

/// Builds a value from events; nothing here recurses.
class OrderedBuilder final : public JsonEvents {
 public:
  void null() override { put(nullptr); }
  void boolean(bool value) override { put(value); }
  void integer(std::int64_t value) override { put(value); }
  void unsigned_integer(std::uint64_t value) override { put(value); }
  void number(double value) override { put(value); }
  void string(std::string&& value) override { put(std::move(value)); }
  void begin_object() override { open_.push_back({OrderedJson::object(), {}}); }
  void key(std::string&& name) override { open_.back().key = std::move(name); }
  void end_object() override { close(); }
  void begin_array() override { open_.push_back({OrderedJson::array(), {}}); }
  void end_array() override { close(); }

  OrderedJson take() { return std::move(root_); }

 private:
  struct Container {
    OrderedJson value;
    std::string key;  // of the member being read
  };

  void put(OrderedJson value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Container& top = open_.back(); top.value.is_object()) {
      // Not operator[]: it would look for the key among all members, which the parser has done already.
      top.value.get_ref<OrderedJson::object_t&>().emplace_back(std::move(top.key), std::move(value));
    } else {
      top.value.push_back(std::move(value));
    }
  }
  void close() {
    OrderedJson done = std::move(open_.back().value);
    open_.pop_back();
    put(std::move(done));
  }

  std::vector<Container> open_;
  OrderedJson root_;
};

}  // namespace

OrderedJson parse_body(std::string_view text) {
  OrderedBuilder builder;
  try {
    parse_json_events(text, "body", builder, kBodyLimits);
  } catch (const Error& error) {
    throw ApiError{.message = error.what()};
  }
  return builder.take();
}

std::string to_text(const OrderedJson& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/false, OrderedJson::error_handler_t::replace);
}

std::string describe(const OrderedJson& value) {
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (value.is_object()) return "an object";
  if (value.is_string()) return '"' + printable(value.get_ref<const std::string&>(), 80) + '"';
  return to_text(value);
}

double writable(double logprob) { return std::isfinite(logprob) ? std::max(logprob, -9999.0) : -9999.0; }

}  // namespace kl
