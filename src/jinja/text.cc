#include "jinja/text.h"

namespace kl::jinja {

void Text::mark() {
  if (marks_.empty()) marks_.assign(bytes_.size(), static_cast<char>(uniform_));
}

void Text::append_uniform(std::string_view bytes, bool own) {
  if (bytes.empty()) return;
  if (bytes_.empty()) uniform_ = own;
  if (!marks_.empty() || uniform_ != own) {
    mark();
    marks_.append(bytes.size(), static_cast<char>(own));
  }
  bytes_.append(bytes);
}

void Text::append(const Text& other) {
  if (other.marks_.empty()) return append_uniform(other.bytes_, other.uniform_);
  mark();
  marks_.append(other.marks_);
  bytes_.append(other.bytes_);
}

Text Text::substr(std::size_t position, std::size_t bytes) const {
  Text part(bytes_.substr(position, bytes), uniform_);
  if (!marks_.empty()) part.marks_ = marks_.substr(position, bytes);
  return part;
}

std::size_t Text::stretch_end(std::size_t position) const {
  if (marks_.empty() || position >= size()) return size();
  const std::size_t end = marks_.find(marks_[position] != 0 ? '\0' : '\1', position);
  return end == std::string::npos ? size() : end;
}

}  // namespace kl::jinja
