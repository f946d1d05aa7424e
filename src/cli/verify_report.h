#pragma once
#include <string>

#include "kl/verify.h"

namespace kl::cli {

// What `kl verify` found: lines for a person, and the object of --json with its line break.
std::string integrity_text(const IntegrityReport& report);
std::string integrity_json(const IntegrityReport& report);

/// `model`: the folder.
std::string parity_text(const std::string& model, const ParityReport& report);
std::string parity_json(const std::string& model, const ParityReport& report);

}  // namespace kl::cli
