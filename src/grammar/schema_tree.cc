#include "grammar/schema_tree.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "base/json.h"
#include "base/printable.h"
#include "grammar/characters.h"
#include "kl/error.h"

namespace kl::grammar {

/// Takes the parts of a JSON text as they come.
class SchemaTreeBuilder final : public JsonEvents {
 public:
  explicit SchemaTreeBuilder(SchemaTree& tree) : tree_(tree) {}

  void null() override { add(JsonKind::kNull); }
  void boolean(bool value) override { tree_.nodes_[add(JsonKind::kBoolean)].boolean = value; }
  void integer(std::int64_t value) override {
    JsonNode& node = tree_.nodes_[add(JsonKind::kInteger)];
    node.integer = value;
    node.number = static_cast<double>(value);
  }
  void unsigned_integer(std::uint64_t value) override {
    JsonNode& node = tree_.nodes_[add(JsonKind::kUnsigned)];
    node.natural = value;
    node.number = static_cast<double>(value);
  }
  void number(double value) override { tree_.nodes_[add(JsonKind::kNumber)].number = value; }
  void large_integer(std::string_view digits) override {
    number(std::strtod(std::string(digits).c_str(), nullptr));
    tree_.nodes_.back().text = tree_.texts_.emplace_back(digits);
  }
  void string(std::string&& value) override {
    tree_.nodes_[add(JsonKind::kString)].text = tree_.texts_.emplace_back(std::move(value));
  }
  void begin_object() override { open_.push_back(add(JsonKind::kObject)); }
  void begin_array() override { open_.push_back(add(JsonKind::kArray)); }
  void end_object() override { open_.pop_back(); }
  void end_array() override { open_.pop_back(); }
  void key(std::string&& name) override { key_ = tree_.texts_.emplace_back(std::move(name)); }

 private:
  NodeId add(JsonKind kind) {
    const auto id = static_cast<NodeId>(tree_.nodes_.size());
    JsonNode& node = tree_.nodes_.emplace_back();
    node.kind = kind;
    if (open_.empty()) return id;
    node.parent = open_.back();
    JsonNode& parent = tree_.nodes_[node.parent];
    if (parent.kind == JsonKind::kObject) {
      node.key = key_;
      tree_.members_.emplace(std::pair(node.parent, node.key), id);
    }
    (parent.num_children == 0 ? parent.first_child : tree_.nodes_[parent.last_child].next) = id;
    parent.last_child = id;
    ++parent.num_children;
    return id;
  }

  SchemaTree& tree_;
  std::vector<NodeId> open_;
  std::string_view key_;
};

SchemaTree::SchemaTree(std::string_view text, std::size_t depth) { add(text, depth); }

NodeId SchemaTree::add(std::string_view text, std::size_t depth) {
  const auto first = static_cast<NodeId>(nodes_.size());
  SchemaTreeBuilder builder(*this);
  JsonLimits limits;
  limits.max_depth = depth;
  try {
    parse_json_events(text, "json schema", builder, limits);
  } catch (const Error& error) {
    throw Error(ErrorCode::kInvalidArgument, error.what());
  }
  return first;
}

std::vector<NodeId> SchemaTree::children(NodeId node) const {
  std::vector<NodeId> list;
  for (NodeId child = nodes_[node].first_child; child != kNoNode; child = nodes_[child].next) list.push_back(child);
  return list;
}

NodeId SchemaTree::find(NodeId object, std::string_view key) const {
  const auto it = members_.find(std::pair(object, key));
  return it == members_.end() ? kNoNode : it->second;
}

std::string SchemaTree::pointer(NodeId node) const {
  std::vector<std::string> steps;
  for (; nodes_[node].parent != kNoNode; node = nodes_[node].parent) {
    const JsonNode& parent = nodes_[nodes_[node].parent];
    std::string step;
    if (parent.kind == JsonKind::kObject) {
      for (const char c : nodes_[node].key) step += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    } else {
      std::size_t index = 0;
      for (NodeId child = parent.first_child; child != node; child = nodes_[child].next) ++index;
      step = std::to_string(index);
    }
    steps.push_back(std::move(step));
  }
  std::string result;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) result += "/" + *step;
  return printable(result, 300);
}

NodeId SchemaTree::resolve(std::string_view reference, Budget& budget) const {
  if (!reference.starts_with("#")) return kNoNode;
  std::string path;  // %XX decoded
  for (std::size_t i = 1; i < reference.size(); ++i) {
    const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f'); };
    if (reference[i] == '%' && i + 2 < reference.size() && is_hex(reference[i + 1]) && is_hex(reference[i + 2])) {
      path += static_cast<char>(std::stoi(std::string(reference.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      path += reference[i];
    }
  }
  if (path.empty()) return root();
  if (path[0] != '/') return kNoNode;
  NodeId node = root();
  for (std::size_t at = 0; at < path.size() && node != kNoNode;) {
    const std::size_t end = std::min(path.find('/', at + 1), path.size());
    std::string step;
    for (std::size_t i = at + 1; i < end; ++i) {
      const bool escaped = path[i] == '~' && i + 1 < end && (path[i + 1] == '0' || path[i + 1] == '1');
      step += escaped ? (path[++i] == '0' ? '~' : '/') : path[i];
    }
    if (nodes_[node].kind == JsonKind::kArray) {
      const bool index = !step.empty() && step.size() < 8 && step.find_first_not_of("0123456789") == step.npos;
      NodeId child = index ? nodes_[node].first_child : kNoNode;
      for (int i = index ? std::stoi(step) : 0; i > 0 && child != kNoNode; --i) {
        budget.spend_steps(1);
        child = nodes_[child].next;
      }
      node = child;
    } else {
      node = find(node, step);
    }
    at = end;
  }
  return node;
}

std::string SchemaTree::scalar(NodeId id) const {
  const JsonNode& node = nodes_[id];
  switch (node.kind) {
    case JsonKind::kBoolean:
      return node.boolean ? "true" : "false";
    case JsonKind::kInteger:
      return std::to_string(node.integer);
    case JsonKind::kUnsigned:
      return std::to_string(node.natural);
    case JsonKind::kNumber:
      return node.text.empty() ? fmt::format("{}", node.number) : std::string(node.text);
    case JsonKind::kString:
      return '"' + canonical(node.text) + '"';
    default:
      return "null";
  }
}

std::string SchemaTree::write(NodeId top) const {
  std::string text;
  NodeId node = top;
  for (;;) {
    const JsonNode& n = nodes_[node];
    if (node != top && nodes_[n.parent].kind == JsonKind::kObject) text += '"' + canonical(n.key) + "\":";
    const bool container = n.kind == JsonKind::kArray || n.kind == JsonKind::kObject;
    if (container) {
      text += n.kind == JsonKind::kArray ? '[' : '{';
      if (n.first_child != kNoNode) {
        node = n.first_child;
        continue;
      }
    } else {
      text += scalar(node);
    }
    if (container) text += n.kind == JsonKind::kArray ? ']' : '}';
    while (node != top && nodes_[node].next == kNoNode) {
      node = nodes_[node].parent;
      text += nodes_[node].kind == JsonKind::kArray ? ']' : '}';
    }
    if (node == top) return text;
    text += ',';
    node = nodes_[node].next;
  }
}

std::string SchemaTree::describe(NodeId node) const {
  if (nodes_[node].kind == JsonKind::kArray) return "an array";
  if (nodes_[node].kind == JsonKind::kObject) return "an object";
  return printable(scalar(node), 60);
}

}  // namespace kl::grammar
