#pragma once
#include <string>
#include <vector>

#include "convert/encoder_choice.h"
#include "convert/source_model.h"
#include "kl/convert.h"

namespace kl {

/// README.md of a model folder, with the front matter that model hubs read.  It names no path and no date: equal conversions have
/// equal cards.
std::string model_card(const SourceModel& source, const std::vector<OutputModule>& modules,
                       const ConvertOptions& options, const std::string& name);

}  // namespace kl
