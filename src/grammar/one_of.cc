// oneOf is followed where no value can satisfy two of its schemas: then it says what anyOf says.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "grammar/schema_compiler.h"

namespace kl::grammar {
namespace {

using Values = std::set<std::string>;

bool disjoint(const Values& a, const Values& b) {
  return std::none_of(a.begin(), a.end(), [&](const std::string& value) { return b.contains(value); });
}

/// What is easily seen about a schema; every absent field may be anything.
struct Outline {
  std::uint32_t types = 0;
  std::optional<Values> values;
  std::map<std::string, Values> tags;  ///< required properties with a fixed set of values
  std::set<std::string> required;
  std::optional<std::set<std::string>> names;  ///< all properties there may be
};

bool exclude_each_other(const Outline& a, const Outline& b, std::uint32_t object) {
  if ((a.types & b.types) == 0) return true;
  if (a.values && b.values && disjoint(*a.values, *b.values)) return true;
  if ((a.types & b.types & ~object) != 0) return false;
  const auto forbidden_in = [](const std::set<std::string>& required, const Outline& other) {
    return other.names && std::any_of(required.begin(), required.end(),
                                      [&](const std::string& name) { return !other.names->contains(name); });
  };
  if (forbidden_in(a.required, b) || forbidden_in(b.required, a)) return true;
  return std::any_of(a.tags.begin(), a.tags.end(), [&](const auto& tag) {
    const auto other = b.tags.find(tag.first);
    return other != b.tags.end() && disjoint(tag.second, other->second);
  });
}

}  // namespace

void SchemaCompiler::require_exclusive(NodeId list) {
  if (!checked_.try_emplace(list, true).second) return;
  const auto target_of = [&](NodeId schema) {
    Parts next;
    for (int steps = 0; steps < 64 && tree_[schema].kind == JsonKind::kObject; ++steps) {
      if (tree_[schema].num_children != 1) break;  // what stands beside $ref would be overlooked
      follow_reference(schema, next);
      if (next.empty()) break;
      schema = next.back().node;
      next.clear();
    }
    return schema;
  };
  const auto values_of = [&](NodeId schema) -> std::optional<Values> {
    Values values;
    const NodeId constant = keyword(schema, "const"), list_of = keyword(schema, "enum");
    if (constant != kNoNode) return Values{tree_.write(constant)};
    if (list_of == kNoNode) return {};
    for (const NodeId value : tree_.children(list_of)) values.insert(tree_.write(value));
    return values;
  };
  std::vector<Outline> outlines;
  for (const NodeId branch : tree_.children(list)) {
    const NodeId schema = target_of(branch);
    Outline& outline = outlines.emplace_back();
    outline.types = kAnyType;
    if (tree_[schema].kind != JsonKind::kObject) continue;
    outline.types = types(schema);
    outline.values = values_of(schema);
    const NodeId known = keyword(schema, "properties"), required = keyword(schema, "required");
    for (const NodeId name : required == kNoNode ? std::vector<NodeId>{} : tree_.children(required)) {
      outline.required.emplace(tree_[name].text);
      const NodeId property = known == kNoNode ? kNoNode : tree_.find(known, tree_[name].text);
      if (property == kNoNode) continue;
      if (const auto values = values_of(target_of(property))) outline.tags.emplace(tree_[name].text, *values);
    }
    const NodeId additional = keyword(schema, "additionalProperties");
    const bool closed =
        additional != kNoNode && tree_[additional].kind == JsonKind::kBoolean && !tree_[additional].boolean;
    if (!closed || keyword(schema, "patternProperties") != kNoNode) continue;
    outline.names.emplace();
    for (const NodeId name : known == kNoNode ? std::vector<NodeId>{} : tree_.children(known)) {
      outline.names->emplace(tree_[name].key);
    }
  }
  for (std::size_t i = 0; i < outlines.size(); ++i) {
    budget_.spend_steps(i);
    for (std::size_t j = 0; j < i; ++j) {
      if (exclude_each_other(outlines[i], outlines[j], kObject)) continue;
      refuse(list, "",
             fmt::format("schemas that exclude each other by type, const, enum or required properties, got {} "
                         "and {}, which kl cannot tell apart (use anyOf)",
                         j, i));
    }
  }
}

}  // namespace kl::grammar
