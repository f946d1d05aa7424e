#pragma once
#include <span>
#include <string_view>

namespace kl {

/// A file of src/server/page/ as the build put it into the program.
struct PageFile {
  std::string_view name;  ///< "index.html"
  std::string_view bytes;
};

/// All of them, by name.
std::span<const PageFile> page_files();

}  // namespace kl
