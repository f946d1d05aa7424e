#include "gguf/gguf_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/printable.h"
#include "base/problems.h"
#include "base/utf8.h"
#include "kl/error.h"

namespace kl {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF numbers are read as they lie");

constexpr std::uint32_t kVersion = 3;
constexpr std::size_t kMaxKeyBytes = 65'535;
constexpr std::int64_t kDefaultAlignment = 32, kMinAlignment = 8, kMaxAlignment = 65'536;

// The fewest bytes of a key with its value, and of what is said about a tensor: an upper bound for how many there can
// be.
constexpr std::uint64_t kMinValueBytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

/// Bytes of a number of this type, 0 for texts, arrays and unknown types.
std::size_t size_of(std::uint32_t type) {
  constexpr std::uint8_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < std::size(kSizes) ? kSizes[type] : 0;
}

std::uint64_t round_up(std::uint64_t n, std::uint64_t alignment) { return (n + alignment - 1) / alignment * alignment; }

/// Walks over the bytes of a file; what does not fit into the rest of it is an error.
class Cursor {
 public:
  Cursor(std::string_view file, const std::string& name) : file_(file), name_(name) {}

  std::size_t at() const { return at_; }
  std::size_t left() const { return file_.size() - at_; }
  std::string_view since(std::size_t begin) const { return file_.substr(begin, at_ - begin); }

  [[noreturn]] void fail(const std::string& what, ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, fmt::format("{}: {}", name_, what));
  }

  /// `what` names the thing read, for the message.
  std::string_view take(std::uint64_t bytes, const std::string& what) {
    if (bytes > left()) fail(fmt::format("{}: expected {} bytes, got {} to the end of the file", what, bytes, left()));
    at_ += static_cast<std::size_t>(bytes);
    return file_.substr(at_ - static_cast<std::size_t>(bytes), static_cast<std::size_t>(bytes));
  }

  template <class T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::string_view text(const std::string& what) { return take(number<std::uint64_t>(what), what); }

 private:
  std::string_view file_;
  const std::string& name_;
  std::size_t at_ = 0;
};

bool is_plain_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

bool is_plain_utf8(std::string_view text) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  return well_formed_prefix(text) == text.size() && std::none_of(text.begin(), text.end(), is_control);
}

void check_booleans(const Cursor& cursor, const std::string& key, std::string_view bytes) {
  const auto wrong = std::find_if(bytes.begin(), bytes.end(), [](char c) { return c != 0 && c != 1; });
  if (wrong != bytes.end()) {
    cursor.fail(fmt::format("{}: expected a boolean of 0 or 1, got {}", key, int{static_cast<unsigned char>(*wrong)}));
  }
}

GgufValue read_array(Cursor& cursor, const std::string& key) {
  GgufValue value;
  value.type = GgufType::kArray;
  const auto element = cursor.number<std::uint32_t>(key);
  value.count = cursor.number<std::uint64_t>(key);
  if (element == static_cast<std::uint32_t>(GgufType::kArray)) cursor.fail(key + ": expected no array of arrays");
  value.element = static_cast<GgufType>(element);
  if (value.element == GgufType::kString) {
    const std::size_t begin = cursor.at();
    if (value.count > cursor.left() / 8) {
      cursor.fail(fmt::format("{}: expected at most the {} strings that fit into the file, got {}", key,
                              cursor.left() / 8, value.count));
    }
    for (std::uint64_t i = 0; i < value.count; ++i) cursor.text(key);
    value.bytes = cursor.since(begin);
    return value;
  }
  const std::size_t size = size_of(element);
  if (size == 0) cursor.fail(fmt::format("{}: expected elements of a known type, got type {}", key, element));
  if (value.count > cursor.left() / size) {
    cursor.fail(fmt::format("{}: expected at most the {} elements that fit into the file, got {}", key,
                            cursor.left() / size, value.count));
  }
  value.bytes = cursor.take(value.count * size, key);
  if (value.element == GgufType::kBool) check_booleans(cursor, key, value.bytes);
  return value;
}

GgufValue read_value(Cursor& cursor, const std::string& key) {
  const auto type = cursor.number<std::uint32_t>(key);
  if (type == static_cast<std::uint32_t>(GgufType::kArray)) return read_array(cursor, key);
  GgufValue value;
  value.type = static_cast<GgufType>(type);
  if (value.type == GgufType::kString) {
    value.bytes = cursor.text(key);
    return value;
  }
  const std::size_t size = size_of(type);
  if (size == 0) cursor.fail(fmt::format("{}: expected a value of a known type, got type {}", key, type));
  value.bytes = cursor.take(size, key);
  if (value.type == GgufType::kBool) check_booleans(cursor, key, value.bytes);
  return value;
}

void read_metadata(Cursor& cursor, std::uint64_t count, GgufHeader& header) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string place = fmt::format("metadata key {} of {}", i + 1, count);
    const std::string_view key = cursor.text(place);
    if (key.empty() || key.size() > kMaxKeyBytes || !is_plain_ascii(key)) {
      cursor.fail(fmt::format("{}: expected 1 to {} printable ASCII characters, got {} bytes: \"{}\"", place,
                              kMaxKeyBytes, key.size(), printable(key, 60)));
    }
    GgufValue value = read_value(cursor, std::string(key.substr(0, 200)));
    if (!header.metadata.emplace(key, value).second) {
      cursor.fail(fmt::format("{}: expected every key once, got it twice", printable(key)));
    }
  }
}

std::uint64_t read_alignment(const Cursor& cursor, const GgufHeader& header) {
  const auto found = header.metadata.find("general.alignment");
  if (found == header.metadata.end()) return static_cast<std::uint64_t>(kDefaultAlignment);
  const std::int64_t alignment = found->second.integer().value_or(0);
  if (alignment < kMinAlignment || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
    cursor.fail(fmt::format("general.alignment: expected a power of two from {} to {}, got {}", kMinAlignment,
                            kMaxAlignment, found->second.describe()));
  }
  return static_cast<std::uint64_t>(alignment);
}

/// Bytes of the tensor; nothing, with the problem reported, if its rows are no whole blocks or the size overflows.
std::optional<std::uint64_t> checked_size(const std::string& subject, const GgmlType& type,
                                          const std::vector<std::int64_t>& shape, Problems& problems) {
  if (shape.back() % type.values != 0) {
    problems.add(fmt::format("{}expected rows of whole {} blocks of {} values, got [{}]", subject, type.name,
                             type.values, fmt::join(shape, ", ")));
    return {};
  }
  std::int64_t elements = 1, bytes = 0;
  bool overflows = false;
  for (const std::int64_t dim : shape) overflows = __builtin_mul_overflow(elements, dim, &elements) || overflows;
  overflows = overflows || __builtin_mul_overflow(elements / type.values, std::int64_t{type.bytes}, &bytes);
  if (overflows) {
    problems.add(fmt::format("{}size of {} [{}] overflows 64 bits", subject, type.name, fmt::join(shape, ", ")));
    return {};
  }
  return static_cast<std::uint64_t>(bytes);
}

/// One tensor's entry; its offset, from the start of the data, goes to `begin`.
void read_tensor(Cursor& cursor, const std::string& place, std::uint64_t alignment, GgufHeader& header,
                 Problems& problems) {
  const std::string_view name = cursor.text(place + ": name");
  if (name.empty() || name.size() > kMaxGgufTensorName || !is_plain_utf8(name)) {
    cursor.fail(fmt::format("{}: expected a name of 1 to {} bytes of UTF-8 without control characters, got \"{}\"",
                            place, kMaxGgufTensorName, printable(name, 80)));
  }
  const std::string subject = fmt::format("tensor {}: ", printable(name));
  const auto rank = cursor.number<std::uint32_t>(subject + "rank");
  if (rank < 1 || rank > kMaxGgufRank) {
    cursor.fail(fmt::format("{}expected 1 to {} dimensions, got {}", subject, kMaxGgufRank, rank));
  }
  GgufTensor tensor;
  for (std::uint32_t i = 0; i < rank; ++i) {
    tensor.shape.insert(tensor.shape.begin(), cursor.number<std::int64_t>(subject + "dimensions"));
  }
  const auto type = cursor.number<std::uint32_t>(subject + "type");
  const auto offset = cursor.number<std::uint64_t>(subject + "offset");
  tensor.type = find_ggml_type(type);
  tensor.begin = static_cast<std::size_t>(offset);
  if (std::any_of(tensor.shape.begin(), tensor.shape.end(), [](std::int64_t dim) { return dim < 1; })) {
    problems.add(fmt::format("{}expected dimensions of at least 1, got [{}]", subject, fmt::join(tensor.shape, ", ")));
  } else if (tensor.type == nullptr) {
    problems.add(fmt::format("{}expected a known type, got type {}", subject, type));
  } else if (const auto bytes = checked_size(subject, *tensor.type, tensor.shape, problems)) {
    tensor.bytes = static_cast<std::size_t>(*bytes);
  }
  if (offset % alignment != 0) {
    problems.add(fmt::format("{}expected an offset that is a multiple of {}, got {}", subject, alignment, offset));
  }
  if (!header.tensors.emplace(name, std::move(tensor)).second) {
    problems.add(subject + "expected every name once, got it twice");
  }
}

/// Order, holes, overlaps and the end of the file; begins become places in the file.
void check_geometry(std::size_t file_bytes, std::size_t infos_end, std::uint64_t alignment, GgufHeader& header,
                    Problems& problems) {
  std::vector<std::pair<const std::string*, GgufTensor*>> by_offset;
  for (auto& [name, tensor] : header.tensors) by_offset.emplace_back(&name, &tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const auto& a, const auto& b) { return a.second->begin < b.second->begin; });
  const std::uint64_t data_begin = round_up(infos_end, alignment);
  const std::uint64_t data_bytes = file_bytes > data_begin ? file_bytes - data_begin : 0;
  std::uint64_t end = 0;
  for (const auto& [name, tensor] : by_offset) {
    const std::uint64_t expected = round_up(end, alignment);
    const std::string subject = fmt::format("tensor {}: ", printable(*name));
    if (tensor->begin != expected) {
      problems.add(fmt::format("{}expected to begin at offset {}, got {}: {}", subject, expected, tensor->begin,
                               tensor->begin > expected ? "a hole before it" : "it overlaps another tensor"));
      return;  // whatever follows would be told off as well
    }
    if (tensor->bytes > data_bytes - std::min<std::uint64_t>(data_bytes, expected)) {
      problems.add(fmt::format("{}expected {} bytes at offset {}, got a file with {} bytes of data (truncated?)",
                               subject, tensor->bytes, expected, data_bytes));
      return;
    }
    end = expected + tensor->bytes;
    tensor->begin += static_cast<std::size_t>(data_begin);
  }
  const std::uint64_t file_end = round_up(header.tensors.empty() ? infos_end : data_begin + end, alignment);
  if (file_bytes > file_end) {
    problems.add(fmt::format("expected a file of at most {} bytes by its tensors, got {}", file_end, file_bytes));
  }
}

void check_version(Cursor& cursor) {
  const auto magic = cursor.take(std::min<std::size_t>(4, cursor.left()), "magic");
  if (magic != "GGUF") {
    cursor.fail(fmt::format("expected a GGUF file, which begins with \"GGUF\", got \"{}\"", printable(magic)));
  }
  const auto version = cursor.number<std::uint32_t>("version");
  if (version == kVersion) return;
  if (version > 0xffff && __builtin_bswap32(version) <= 0xffff) {
    cursor.fail("expected a little-endian GGUF file, got a big-endian one", ErrorCode::kUnsupported);
  }
  cursor.fail(fmt::format("expected GGUF version {}, got {}", kVersion, version), ErrorCode::kUnsupported);
}

}  // namespace

GgufHeader parse_gguf_header(std::string_view file, const std::string& name) {
  Cursor cursor(file, name);
  check_version(cursor);
  const auto num_tensors = cursor.number<std::uint64_t>("number of tensors");
  const auto num_values = cursor.number<std::uint64_t>("number of metadata values");
  const auto check_count = [&](const char* what, std::uint64_t count, std::uint64_t min_bytes) {
    if (count <= cursor.left() / min_bytes) return;
    cursor.fail(fmt::format("number of {}: expected at most the {} that fit into the file, got {}", what,
                            cursor.left() / min_bytes, count));
  };
  check_count("tensors", num_tensors, kMinTensorBytes);
  check_count("metadata values", num_values, kMinValueBytes);

  GgufHeader header;
  read_metadata(cursor, num_values, header);
  const std::uint64_t alignment = read_alignment(cursor, header);
  check_count("tensors", num_tensors, kMinTensorBytes);
  Problems problems;
  for (std::uint64_t i = 0; i < num_tensors; ++i) {
    read_tensor(cursor, fmt::format("tensor {} of {}", i + 1, num_tensors), alignment, header, problems);
  }
  if (problems.empty()) check_geometry(file.size(), cursor.at(), alignment, header, problems);
  problems.throw_if_any(name);
  return header;
}

}  // namespace kl
