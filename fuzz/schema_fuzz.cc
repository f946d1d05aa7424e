// Any text is a schema or an Error; whatever an accepted one allows ends, and ends in JSON.
//
// The input is a schema up to the first NUL byte, and behind it the choices of a walk: each byte picks one of the bytes
// that may come next.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "grammar/matcher.h"
#include "grammar/schema_compiler.h"
#include "kl/error.h"

namespace {

std::optional<kl::grammar::Automaton> compile(std::string_view schema) {
  kl::GrammarLimits limits;
  limits.states = 1 << 13;
  try {
    return kl::grammar::compile_schema(schema, false, limits);
  } catch (const kl::Error&) {
    return std::nullopt;
  }
}

/// Duplicate names are possible, so only what has none must parse strictly.
void require_json(const std::string& text) {
  try {
    kl::JsonLimits limits;
    limits.max_depth = 200;
    kl::Json::parse(text, "text", limits);
  } catch (const kl::Error& error) {
    if (std::string_view(error.what()).find("twice") == std::string_view::npos) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t schema_bytes = std::min(input.find('\0'), size);
  const std::optional<kl::grammar::Automaton> automaton = compile(input.substr(0, schema_bytes));
  if (!automaton) return 0;
  kl::grammar::Matcher matcher(*automaton);
  std::string text;
  for (const char choice : input.substr(std::min(schema_bytes + 1, size))) {
    if (!matcher.may_continue()) break;
    bool moved = false;
    for (int i = 0; i < 256 && !moved; ++i) {
      const char byte = static_cast<char>(static_cast<std::uint8_t>(choice) + i);
      kl::grammar::Matcher next = matcher;
      if (!next.read({&byte, 1})) continue;
      matcher = next;
      text += byte;
      moved = true;
    }
    if (!moved) std::abort();  // a dead end
  }
  if (matcher.may_end()) require_json(text);
  return 0;
}
