#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace kl {

/// What may be done with the pages of a mapped file.
enum class MapMode : std::uint8_t {
  kReadOnly,
  kPrivate,  ///< pages may be written: the writer then has a copy of its own, and nothing reaches the file
};

/// A regular file mapped into memory.  Pages are read when touched and shared with every process that maps the same file.
///
/// If someone shortens the file while it is mapped, touching the lost pages raises SIGBUS.  The first MappedFile
/// installs a handler that prints one line naming the file to stderr and ends the process with status 3, because no
/// result computed from such a file could be trusted.  A SIGBUS outside mapped files goes to the handler before ours.
class MappedFile {
 public:
  /// Throws Error(kNotFound) if the file is missing, unreadable or not regular, Error(kCorrupt) if it is a Git-LFS
  /// pointer, and Error(kOutOfMemory) if the address space cannot be had.
  explicit MappedFile(const std::filesystem::path& path, MapMode mode = MapMode::kReadOnly);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }  ///< nullptr for an empty file
  std::byte* writable_data() { return data_; }     ///< REQUIRES: MapMode::kPrivate
  std::size_t size() const { return size_; }
  const std::string& name() const { return name_; }  ///< the path, for messages

 private:
  std::string name_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  int slot_ = -1;  // in the table the SIGBUS handler searches
};

/// Has bytes of mapped files read from the disk, if they are not in memory yet, and entered into the page tables.
void bring_into_memory(std::span<const std::byte> bytes);

}  // namespace kl
