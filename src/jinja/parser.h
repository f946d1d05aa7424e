#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "jinja/ast.h"

namespace kl::jinja {

/// Parses a template.  Throws Error(kUnsupported) reading `NAME:LINE: expected ..., got ...` for what is no template, or
/// one beyond the subset (docs/chat.md), and what lex() throws.
std::unique_ptr<const Ast> parse(std::string_view source, const std::string& name);

}  // namespace kl::jinja
