#pragma once
#include <filesystem>
#include <string>

namespace kl::cli {

/// The folder or GGUF file a command works on: `given` (-m) if not empty, else $KL_MODEL, else the bundled demo model, looked for
/// where the build tree has it (../../../models/demo from the program) and where an installation has it
/// (../share/kl/models/demo).
/// Throws Error(kNotFound) if there is no such folder or file, or naming all places looked at.
std::filesystem::path find_model(const std::string& given);

}  // namespace kl::cli
