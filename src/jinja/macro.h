#pragma once

namespace kl::jinja {

struct MacroDefinition;
struct Scope;

/// A macro, or the body of a call block, with the scope in which its names are looked up.
struct Macro {
  const MacroDefinition* definition = nullptr;
  Scope* scope = nullptr;
};

}  // namespace kl::jinja
