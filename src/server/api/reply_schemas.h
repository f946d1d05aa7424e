#pragma once

namespace kl {

/// Schemas of replies for openapi.yaml: JSON text of an object by name.  They say what is always there.
extern const char* const kReplySchemas;

}  // namespace kl
