#include "kl/structured.h"

#include <fmt/format.h>

#include <functional>
#include <list>
#include <mutex>
#include <set>
#include <unordered_map>

#include "base/printable.h"
#include "grammar/json_grammar.h"
#include "grammar/schema_compiler.h"
#include "grammar/tool_grammar.h"
#include "kl/error.h"

namespace kl {
namespace {

using grammar::CompiledSchema;

constexpr std::string_view kAnyObject = R"({"type":"object"})";

/// The latest schemas, as many as fit.  What they take is asked again each time, since masks are added as texts need
/// them.
class SchemaCache {
 public:
  explicit SchemaCache(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  std::shared_ptr<const CompiledSchema> find(const std::string& key) {
    const auto it = index_.find(key);
    if (it == index_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    return it->second->second;
  }

  void add(const std::string& key, std::shared_ptr<const CompiledSchema> schema) {
    if (index_.contains(key)) return;  // compiled twice at once
    entries_.emplace_front(key, std::move(schema));
    index_[key] = entries_.begin();
  }

  void trim() {
    std::size_t bytes = 0;
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      bytes += 2 * entry->first.size() + entry->second->memory();
      if (bytes <= most_bytes_) {
        ++entry;
        continue;
      }
      index_.erase(entry->first);
      entry = entries_.erase(entry);
    }
  }

 private:
  using Entries = std::list<std::pair<std::string, std::shared_ptr<const CompiledSchema>>>;
  std::size_t most_bytes_;
  Entries entries_;  // the latest first
  std::unordered_map<std::string, Entries::iterator> index_;
};

void check_name(const std::string& name, std::set<std::string>& names) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  if (name.empty() || name.size() > 64 || name.find_first_not_of(kLetters) != name.npos) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("tools: expected a name of 1 to 64 letters, digits, _ or -, got \"{}\"", printable(name)));
  }
  if (!names.insert(name).second) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("tools: expected different names, got {} twice", name));
  }
}

}  // namespace

struct GrammarCompiler::Impl {
  Impl(const Tokenizer& tokenizer, const GrammarLimits& bounds)
      : limits(bounds), vocabulary(std::make_shared<const grammar::Vocabulary>(tokenizer)), cache(bounds.cache_bytes) {
    const grammar::Automaton any = grammar::compile_schema(kAnyObject, true, limits);
    in_string = std::make_shared<const grammar::StateMask>(any, grammar::kInString, *vocabulary);
  }

  std::shared_ptr<const CompiledSchema> compile(std::string_view schema, bool only_objects) {
    const std::string key = (only_objects ? 'o' : 'v') + std::string(schema);
    {
      const std::lock_guard lock(mutex);
      if (auto found = cache.find(key)) {
        cache.trim();
        return found;
      }
    }
    auto compiled = std::make_shared<const CompiledSchema>(grammar::compile_schema(schema, only_objects, limits),
                                                           vocabulary, in_string);
    compiled->masks.prepare();
    const std::lock_guard lock(mutex);
    cache.add(key, compiled);
    cache.trim();
    return compiled;
  }

  const GrammarLimits limits;
  const std::shared_ptr<const grammar::Vocabulary> vocabulary;
  std::shared_ptr<const grammar::StateMask> in_string;
  std::mutex mutex;
  SchemaCache cache;  // guarded by mutex
};

GrammarCompiler::GrammarCompiler(const Tokenizer& tokenizer, const GrammarLimits& limits)
    : impl_(std::make_unique<Impl>(tokenizer, limits)) {}
GrammarCompiler::~GrammarCompiler() = default;

std::shared_ptr<const Grammar> GrammarCompiler::json_object() {
  return std::make_shared<grammar::JsonGrammar>(impl_->compile(kAnyObject, true));
}

std::shared_ptr<const Grammar> GrammarCompiler::json_schema(std::string_view schema) {
  return std::make_shared<grammar::JsonGrammar>(impl_->compile(schema, false));
}

std::shared_ptr<const Grammar> GrammarCompiler::tool_calls(std::span<const ToolDeclaration> tools, ToolChoice choice,
                                                           bool parallel) {
  if (tools.empty()) throw Error(ErrorCode::kInvalidArgument, "tools: expected at least one, got none");
  grammar::ToolSet set{
      grammar::ToolMarkers(*impl_->vocabulary->tokenizer), impl_->vocabulary, {}, choice, parallel, {}};
  std::set<std::string> names;
  for (const ToolDeclaration& tool : tools) {
    check_name(tool.name, names);
    try {
      set.tools.push_back({tool.name, impl_->compile(tool.parameters.empty() ? kAnyObject : tool.parameters, true)});
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("tool {}: {}", tool.name, error.what()));
    }
  }
  return std::make_shared<grammar::ToolGrammar>(std::move(set));
}

}  // namespace kl
