#pragma once
#include <string>
#include <vector>

#include "convert/encoder_choice.h"
#include "convert/source_model.h"
#include "kl/convert.h"

namespace kl {

/// config.json of the target: the source's own with all its fields where it is in the released spelling, else one in that
/// spelling, and what the target's readers have to know about its numbers.
std::string target_config(const SourceModel& source, const std::vector<OutputModule>& modules,
                          const ConvertOptions& options);

}  // namespace kl
