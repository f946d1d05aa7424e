#pragma once
#include <string>

namespace kl {

/// openapi.yaml: every route, field and reply, made of the tables that serve them (OpenAPI 3.1).
std::string openapi_yaml();

/// The tables of fields in docs/api.md (Markdown), one for each body, made of the same rows.
std::string fields_markdown();

}  // namespace kl
