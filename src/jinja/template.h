#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/heap.h"
#include "jinja/text.h"

namespace kl::jinja {

struct Ast;

/// What a template is given: names, and values as JSON texts.
struct Variable {
  std::string name;
  std::string json;
  bool is_own = false;      ///< its strings count as the template's own: special tokens that the model's files name
  bool sorts_keys = false;  ///< its objects are sorted by key, as the reference tokenizer does with tools
};

/// A template in the subset of Jinja that docs/chat.md describes.
///
/// Thread safety: const; may be rendered by any number of threads.
class Template {
 public:
  /// Throws Error(kUnsupported | kCorrupt) reading `NAME:LINE: ...`.
  Template(std::string_view source, std::string name);
  ~Template();
  Template(Template&&) noexcept;

  /// The text it makes.  Of variables with one name, the last counts.
  /// Throws Error(kInvalidArgument) reading `NAME:LINE: ...`, and Error(kCorrupt) where a variable is no JSON.
  Text render(const std::vector<Variable>& variables, const Limits& limits = {}) const;

  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::unique_ptr<const Ast> ast_;
};

}  // namespace kl::jinja
