#pragma once
#include <cstddef>
#include <filesystem>
#include <string>

namespace kl {

/// The whole of a small file.  Throws Error(kNotFound) if it is missing, unreadable or no regular file, and
/// Error(kCorrupt) if it exceeds `max_bytes` or is a Git-LFS pointer instead of the file it stands for.
std::string read_file(const std::filesystem::path& path, std::size_t max_bytes);

/// Message if `head`, the first bytes of a file, is a Git-LFS pointer; empty otherwise.
std::string lfs_pointer_problem(const std::string& head);

}  // namespace kl
