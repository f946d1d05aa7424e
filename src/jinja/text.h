#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace kl::jinja {

/// A string that remembers which of its bytes the template itself wrote.
///
/// Role      bytes of literals and of text between tags are the template's own; bytes of messages, tools and variables
///           are data, and stay data through everything a template does to them.
/// How       `marks_` has one byte per byte of the text, 1 for the template's own; most strings are all one or the
///           other, and have no marks.
/// Invariant bytes are well-formed UTF-8: both templates and JSON are checked before.
class Text {
 public:
  Text() = default;
  static Text data(std::string bytes) { return Text(std::move(bytes), false); }
  static Text own(std::string bytes) { return Text(std::move(bytes), true); }

  const std::string& bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool is_own(std::size_t position) const { return marks_.empty() ? uniform_ : marks_[position] != 0; }

  void append(const Text& other);
  void append_data(std::string_view bytes) { append_uniform(bytes, false); }
  /// More bytes of the kind that the one at `position` of `like` is: for what replaces it.
  void append_like(const Text& like, std::size_t position, std::string_view bytes) {
    append_uniform(bytes, like.is_own(position));
  }

  Text substr(std::size_t position, std::size_t bytes = std::string::npos) const;

  /// The end of the stretch of bytes of one kind that begins at `position`.
  std::size_t stretch_end(std::size_t position) const;

 private:
  Text(std::string bytes, bool own) : bytes_(std::move(bytes)), uniform_(own) {}
  void append_uniform(std::string_view bytes, bool own);
  void mark();

  std::string bytes_;
  std::string marks_;  // empty: all bytes are what uniform_ says
  bool uniform_ = false;
};

}  // namespace kl::jinja
