#include "server/api/openapi.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "kl/version.h"
#include "server/api/json.h"
#include "server/api/reply_schemas.h"
#include "server/api/route_table.h"

namespace kl {
namespace {

OrderedJson reference(std::string_view name) { return {{"$ref", fmt::format("#/components/schemas/{}", name)}}; }

/// The schema of what an array holds, or an object is.
OrderedJson element_schema(std::string_view elements) {
  if (elements.empty()) return OrderedJson::object();
  if (elements == "string" || elements == "integer" || elements == "number") return {{"type", elements}};
  return reference(elements);
}

void set_if_finite(OrderedJson& schema, const char* keyword, double value, bool is_integer) {
  if (std::isinf(value) || std::abs(value) > 1e15) return;
  schema[keyword] = is_integer ? OrderedJson(static_cast<std::int64_t>(value)) : OrderedJson(value);
}

OrderedJson words(std::string_view one_of) {
  OrderedJson list = OrderedJson::array();
  while (true) {
    const std::size_t bar = one_of.find('|');
    list.push_back(one_of.substr(0, bar));
    if (bar == std::string_view::npos) return list;
    one_of.remove_prefix(bar + 1);
  }
}

void set_size(OrderedJson& schema, const Parameter& row, const char* min, const char* max) {
  if (row.min_size > 0) schema[min] = row.min_size;
  if (row.max_size < (1u << 20)) schema[max] = row.max_size;
}

/// One schema for each type a field may have.
std::vector<OrderedJson> alternatives(const Parameter& row) {
  std::vector<OrderedJson> list;
  if (row.types & kBoolean) list.push_back({{"type", "boolean"}});
  if (row.types & (kInteger | kNumber)) {
    const bool is_integer = !(row.types & kNumber);
    OrderedJson schema = {{"type", is_integer ? "integer" : "number"}};
    set_if_finite(schema, "minimum", row.min, is_integer);
    set_if_finite(schema, "maximum", row.max, is_integer);
    list.push_back(std::move(schema));
  }
  if (row.types & kString) {
    OrderedJson schema = {{"type", "string"}};
    if (!row.one_of.empty()) schema["enum"] = words(row.one_of);
    if (!(row.types & kArray)) set_size(schema, row, "minLength", "maxLength");
    list.push_back(std::move(schema));
  }
  if (row.types & kArray) {
    OrderedJson schema = {{"type", "array"}, {"items", element_schema(row.elements)}};
    set_size(schema, row, "minItems", "maxItems");
    list.push_back(std::move(schema));
  }
  if (row.types & kObject) {
    const bool is_component = !row.elements.empty() && !(row.types & kArray);
    list.push_back(is_component ? reference(row.elements) : OrderedJson({{"type", "object"}}));
  }
  return list;
}

OrderedJson field_schema(const Parameter& row) {
  std::vector<OrderedJson> list = alternatives(row);
  if (!row.required) list.push_back({{"type", "null"}});
  OrderedJson schema = {{"description", row.description}};
  if (list.size() == 1 && !list[0].contains("$ref")) {
    schema.update(list[0]);
  } else {
    schema["anyOf"] = list;
  }
  if (!row.fallback.empty()) schema["default"] = OrderedJson::parse(row.fallback);
  return schema;
}

OrderedJson body_schema(Body body) {
  OrderedJson properties = OrderedJson::object(), required = OrderedJson::array();
  for (const Parameter& row : parameters()) {
    if (!contains(row.in, body)) continue;
    properties[std::string(row.name)] = field_schema(row);
    if (row.required) required.push_back(row.name);
  }
  OrderedJson schema = {{"type", "object"}, {"properties", properties}};
  if (!required.empty()) schema["required"] = required;
  return schema;
}

OrderedJson content(const char* type, std::string_view schema) { return {{type, {{"schema", reference(schema)}}}}; }

/// One event of a stream: its data is JSON, or the word that ends OpenAI's streams.
OrderedJson event_schema(std::string_view schema) {
  const OrderedJson json = {{"contentMediaType", "application/json"}, {"contentSchema", reference(schema)}};
  const OrderedJson data = {{"type", "string"}, {"anyOf", OrderedJson::array({{{"const", "[DONE]"}}, json})}};
  return {{"type", "object"}, {"required", {"data"}}, {"properties", {{"data", data}}}};
}

OrderedJson parameters_of(const RouteRow& row) {
  OrderedJson list = OrderedJson::array();
  if (std::strchr(row.path, '{')) {
    list.push_back({{"name", "id"}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}});
  }
  if (row.body == Body::kSlotFile) {
    list.push_back({{"name", "action"},
                    {"in", "query"},
                    {"required", true},
                    {"schema", {{"type", "string"}, {"enum", {"save", "restore", "erase"}}}}});
  }
  return list;
}

OrderedJson operation(const RouteRow& row) {
  OrderedJson operation = {{"summary", row.summary}};
  if (const OrderedJson list = parameters_of(row); !list.empty()) operation["parameters"] = list;
  if (row.body) {
    const bool optional = row.body == Body::kSlotFile;  // nothing is said to erase
    operation["requestBody"] = {{"required", !optional}, {"content", content("application/json", name_of(*row.body))}};
  }
  OrderedJson good = {{"description", "The reply."}, {"content", content("application/json", row.reply)}};
  if (row.stream) good["content"]["text/event-stream"] = {{"itemSchema", event_schema(row.stream)}};
  const char* error = row.errors == ErrorSchema::kAnthropic ? "AnthropicError" : "Error";
  operation["responses"] = {
      {"200", good}, {"default", {{"description", "What is wrong."}, {"content", content("application/json", error)}}}};
  return operation;
}

/// What is answered outside of the table of routes.
OrderedJson plain(const char* summary, const char* type) {
  const OrderedJson reply = {{"description", "The reply."}, {"content", {{type, OrderedJson::object()}}}};
  return {{"summary", summary}, {"responses", {{"200", reply}, {"default", {{"description", "Not now."}}}}}};
}

/// "/v1/models/{id...}" is "/v1/models/{id}" there.
std::string openapi_path(std::string path) {
  if (const std::size_t dots = path.find("...}"); dots != std::string::npos) path.erase(dots, 3);
  return path;
}

OrderedJson document() {
  OrderedJson paths = OrderedJson::object(), schemas = OrderedJson::object();
  for (const RouteRow& row : route_table()) {
    std::string method = row.method;
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    paths[openapi_path(row.path)][method] = operation(row);
    if (row.alias) paths[row.alias][method] = operation(row);
  }
  for (const char* path : {"/health", "/livez", "/readyz"}) {
    paths[path]["get"] = plain("Is the server well?", "application/json");
  }
  paths["/metrics"]["get"] = plain("Counters and histograms for Prometheus.", "text/plain");
  for (int i = 0; i < kNumBodies; ++i)
    schemas[std::string(name_of(static_cast<Body>(i)))] = body_schema(static_cast<Body>(i));
  schemas.update(OrderedJson::parse(kReplySchemas));
  return {{"openapi", "3.2.0"},  // 3.1 cannot describe the events of a stream
          {"info",
           {{"title", "kl serve"},
            {"version", kVersion},
            {"description", "Kimi Linear behind the interfaces of OpenAI, Anthropic and llama.cpp."}}},
          {"servers", OrderedJson::array({{{"url", "http://127.0.0.1:8080"}}})},
          {"paths", paths},
          {"components",
           {{"securitySchemes", {{"bearer", {{"type", "http"}, {"scheme", "bearer"}}}}}, {"schemas", schemas}}}};
}

/// Block style for what has members or elements, JSON, which is YAML too, for everything else.
void write_yaml(const OrderedJson& value, std::size_t indent, std::string& out) {
  const std::string margin(indent, ' ');
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) {
      const bool is_block = member.is_structured() && !member.empty();
      if (is_block) {
        out += fmt::format("{}{}:\n", margin, to_text(key));
        write_yaml(member, indent + 2, out);
      } else {
        out += fmt::format("{}{}: {}\n", margin, to_text(key), to_text(member));
      }
    }
    return;
  }
  for (const OrderedJson& element : value) {
    if (!element.is_structured() || element.empty()) {
      out += fmt::format("{}- {}\n", margin, to_text(element));
      continue;
    }
    std::string inner;
    write_yaml(element, indent + 2, inner);
    inner[indent] = '-';
    out += inner;
  }
}

std::string type_text(const Parameter& row) {
  std::string text;
  const auto add = [&text](const std::string& kind) { text += fmt::format("{}{}", text.empty() ? "" : " or ", kind); };
  const auto range = [&row](const std::string& kind) {
    const bool bounded = !std::isinf(row.min) && std::abs(row.min) < 1e15;
    return bounded ? fmt::format("{} {:.17g} to {:.17g}", kind, row.min, row.max) : kind;
  };
  if (row.types & kBoolean) add("boolean");
  if (row.types & kNumber) add(range("number"));
  if (row.types & kInteger) add(range("integer"));
  if (row.types & kString) {
    std::string list;
    for (const OrderedJson& word : row.one_of.empty() ? OrderedJson::array() : words(row.one_of)) {
      list += fmt::format("{}`{}`", list.empty() ? "" : ", ", word.get<std::string>());
    }
    add(list.empty() ? "string" : list);
  }
  if (row.types & kArray) add(row.elements.empty() ? "array" : fmt::format("array of {}", row.elements));
  if (row.types & kObject) add(row.elements.empty() || row.types & kArray ? "object" : std::string(row.elements));
  return text;
}

/// A list item of Markdown, broken between words at 120 columns.
void add_item(std::string_view item, std::string& text) {
  std::size_t column = 1;
  text += '-';
  while (!item.empty()) {
    const std::string_view word = item.substr(0, item.find(' '));
    const std::size_t letters = static_cast<std::size_t>(
        std::count_if(word.begin(), word.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
    if (column + 1 + letters > 120) {
      text += "\n ";
      column = 1;
    }
    text += fmt::format(" {}", word);
    column += 1 + letters;
    item.remove_prefix(std::min(item.size(), word.size() + 1));
  }
  text += '\n';
}

}  // namespace

std::string openapi_yaml() {
  std::string text =
      "# Made of the tables that serve requests; tests/server/api_openapi_test.cc writes it.  Do not edit.\n";
  write_yaml(document(), 0, text);
  return text;
}

std::string fields_markdown() {
  std::string text;
  for (int i = 0; i < kNumBodies; ++i) {
    const Body body = static_cast<Body>(i);
    text += fmt::format("### {}\n\n", name_of(body));
    for (const Parameter& row : parameters()) {
      if (!contains(row.in, body)) continue;
      const std::string fallback = row.required           ? ", required"
                                   : row.refused          ? ", refused"
                                   : row.fallback.empty() ? ""
                                                          : fmt::format(", default `{}`", row.fallback);
      add_item(fmt::format("`{}` ({}{}): {}", row.name, type_text(row), fallback, row.description), text);
    }
    text += '\n';
  }
  return text;
}

}  // namespace kl
