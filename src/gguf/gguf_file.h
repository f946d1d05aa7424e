#pragma once
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gguf/gguf_header.h"

namespace kl {

/// A GGUF model mapped into memory with everything checked but the numbers themselves: one file, or all files of one that was
/// split (NAME-00001-of-0000N.gguf; any of them names the model).
///
/// Role      container: knows names, types and bytes, nothing of any model.
/// Thread safety: immutable after open().
class GgufFile {
 public:
  struct Part {
    std::string name;  ///< the path
    std::size_t bytes = 0, num_tensors = 0;
    std::shared_ptr<const void> file;  ///< keeps the mapping
  };
  struct Tensor {
    const GgmlType* type = nullptr;
    std::vector<std::int64_t> shape;  ///< the slowest dimension first
    const std::byte* data = nullptr;  ///< lives as long as the GgufFile
    std::size_t bytes = 0;
    std::size_t part = 0;  ///< index into parts()
  };
  using Metadata = std::map<std::string, GgufValue, std::less<>>;
  using Tensors = std::map<std::string, Tensor, std::less<>>;

  /// Throws Error(kNotFound) if a file is missing, kCorrupt and kUnsupported as parse_gguf_header() and for parts that do not
  /// belong together.
  static std::shared_ptr<const GgufFile> open(const std::filesystem::path& path);

  /// A file that is no part of a split one, from memory, which must outlive the object.  `name` stands for it in messages.
  static std::shared_ptr<const GgufFile> parse(std::string_view bytes, const std::string& name);

  const std::string& name() const { return name_; }  ///< the path, for messages
  const std::vector<Part>& parts() const { return parts_; }
  const Metadata& metadata() const { return metadata_; }  ///< of the first part
  const Tensors& tensors() const { return tensors_; }     ///< of all parts

  /// The value of a key, nullptr if there is none.
  const GgufValue* find(std::string_view key) const;

 private:
  GgufFile() = default;
  GgufHeader add_part(const std::filesystem::path& path);
  GgufHeader add_part(std::string_view bytes, const std::string& name, std::shared_ptr<const void> file);
  void add_other_parts(const std::filesystem::path& path, std::int64_t count);

  std::string name_;
  std::vector<Part> parts_;
  Metadata metadata_;
  Tensors tensors_;
};

/// The files of the split model that `path` is a part of by its name, in order; just `path` if its name is of another kind.
std::vector<std::filesystem::path> gguf_parts(const std::filesystem::path& path);

}  // namespace kl
