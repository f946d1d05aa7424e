#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "server/api/json.h"
#include "server/api/parameters.h"

namespace kl {

/// One JSON object of a request, checked against the table of parameters.
///
/// Invariant: every member that the table knows in this body has a type, range and size the table allows, and every
/// required one is there.  null counts as left out.
class Fields {
 public:
  /// `path` is where the object stands: "" for a body, "messages[2]" inside one.  `object` must outlive the Fields.
  /// Throws ApiError 400 naming the first field, in the order of the request, that breaks its row; with `strict` also
  /// one that has no row.
  Fields(const OrderedJson& object, Body body, std::string path, bool strict);

  /// Has this body a field of that name at all?
  bool knows(std::string_view name) const { return find_parameter(body_, name) != nullptr; }

  /// The value, nullptr if left out.  REQUIRES: knows(name), here and below.
  const OrderedJson* find(std::string_view name) const;

  // The value, else the table's, else nothing.
  std::optional<bool> boolean(std::string_view name) const;
  std::optional<std::int64_t> integer(std::string_view name) const;
  std::optional<double> number(std::string_view name) const;
  std::optional<std::string> text(std::string_view name) const;

  /// The object that a member is.  Throws as the constructor; nothing if left out.
  std::optional<Fields> object(std::string_view name, Body body) const;

  /// Where a member stands: "messages[2].content".
  std::string path_of(std::string_view name) const;
  bool is_strict() const { return strict_; }

  /// Throws ApiError 400 reading `PATH: expected WHAT`.
  [[noreturn]] void refuse(std::string_view name, const std::string& what) const;

 private:
  OrderedJson value_or_fallback(std::string_view name) const;

  const OrderedJson* object_;
  Body body_;
  std::string path_;
  bool strict_;
};

/// Throws ApiError 400 reading `PATH: WHAT`.
[[noreturn]] void refuse_field(const std::string& path, const std::string& what);

}  // namespace kl
