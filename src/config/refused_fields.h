#pragma once
#include "base/json.h"
#include "base/problems.h"

namespace kl {

/// Reports (kUnsupported) every field of a configuration that would change what the model computes, each in one
/// sentence that says which model this looks like.  Ignoring such a field would give fluent nonsense.
///
/// Answers false if the configuration is not of a Kimi Linear model at all, so that its other fields mean nothing here.
/// Source    the configurations of Kimi-K3 and glm5_next, and the options of FLA's KDA layer.
bool report_refused_fields(const Json& config, Problems& problems);

/// Names of the fields it knows, so that harmless values of them are not listed as unknown.
bool is_refusable_field(std::string_view name);

}  // namespace kl
