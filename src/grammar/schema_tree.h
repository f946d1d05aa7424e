#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/budget.h"

namespace kl::grammar {

using NodeId = std::uint32_t;
constexpr NodeId kNoNode = 0xFFFFFFFF;

enum class JsonKind : std::uint8_t { kNull, kBoolean, kInteger, kUnsigned, kNumber, kString, kArray, kObject };

/// One value of a JSON text.
struct JsonNode {
  JsonKind kind = JsonKind::kNull;
  bool boolean = false;
  std::int64_t integer = 0;   ///< of kInteger, below 0
  std::uint64_t natural = 0;  ///< of kUnsigned
  double number = 0;          ///< of all three kinds of number
  std::string_view text;      ///< of kString; of kNumber: the digits of an integer that exceeds 64 bits, else empty
  std::string_view key;       ///< of a member of an object
  NodeId parent = kNoNode, first_child = kNoNode, last_child = kNoNode, next = kNoNode;
  std::uint32_t num_children = 0;

  bool is_number() const {
    return kind == JsonKind::kInteger || kind == JsonKind::kUnsigned || kind == JsonKind::kNumber;
  }
};

/// A JSON text as an array of values in the order of the text.  Keeps the order of members, which the order of
/// properties follows, and nothing about it recurses.
class SchemaTree {
 public:
  /// Throws Error(kInvalidArgument): no strict JSON, or more than `depth` levels.
  SchemaTree(std::string_view text, std::size_t depth);

  /// Parses another text into the same tree; returns its root.
  NodeId add(std::string_view text, std::size_t depth);

  NodeId root() const { return 0; }
  const JsonNode& operator[](NodeId node) const { return nodes_[node]; }
  std::vector<NodeId> children(NodeId node) const;

  /// The member `key` of an object, or kNoNode.
  NodeId find(NodeId object, std::string_view key) const;

  /// Where a node is: "/properties/a~1b/items"; the root is "".
  std::string pointer(NodeId node) const;

  /// What "#/..." names, or kNoNode.  Spends steps on places in arrays.
  NodeId resolve(std::string_view reference, Budget& budget) const;

  /// The value as compact JSON, strings in canonical form, members in order.
  std::string write(NodeId node) const;

  /// A short description for messages: "3", "\"abc\"", "an array".
  std::string describe(NodeId node) const;

 private:
  friend class SchemaTreeBuilder;
  std::string scalar(NodeId node) const;

  std::vector<JsonNode> nodes_;
  std::deque<std::string> texts_;
  std::map<std::pair<NodeId, std::string_view>, NodeId> members_;
};

}  // namespace kl::grammar
