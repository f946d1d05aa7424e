#pragma once
#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/problems.h"

namespace kl {

/// Reads typed fields of one JSON object and gathers what is wrong with them.
///
/// A field may have several spellings; the first is the one messages use, and two that are present must agree.  A field
/// that is missing or null leaves the variable as it is.  Fields nobody asked for are left over in unread().
class JsonFields {
 public:
  using Names = std::initializer_list<std::string_view>;

  /// `prefix` stands before field names in messages ("linear_attn_config.").  All three must outlive the object.
  JsonFields(const Json::Object& object, std::string prefix, Problems& problems)
      : object_(object), prefix_(std::move(prefix)), problems_(problems) {}

  /// The value, nullptr if missing or null.
  const Json* find(Names names);

  // Each answers whether the field is present and sound.
  bool read(Names names, std::int64_t min, std::int64_t max, std::int64_t& value);
  bool read(Names names, int min, int max, int& value);
  bool read(Names names, bool& value);
  bool read(Names names, std::string& value);
  bool read_number(Names names, double above, double max, float& value);  ///< above < value <= max
  bool read_list(Names names, std::vector<std::int64_t>& values);         ///< also takes a single integer
  bool read_list(Names names, std::vector<std::string>& values);

  /// Reports a field that must be there and is not.  Call after reading it.
  void require(Names names, std::string_view why = {});

  void report(std::string_view name, const std::string& what) {
    problems_.add(prefix_ + std::string(name) + ": " + what);
  }

  /// Marks fields as known though their value does not matter.
  void ignore(Names names) { read_.insert(names.begin(), names.end()); }

  /// Names, with prefix, of the fields not asked for, sorted.
  std::vector<std::string> unread() const;

 private:
  /// The elements of a list, each of which `get` must find sound; `what` they are is for the message.
  template <class T, class Get>
  bool read_elements(std::string_view name, const Json& json, const char* what, Get get, std::vector<T>& values);

  const Json::Object& object_;
  std::string prefix_;
  Problems& problems_;
  std::set<std::string_view> read_;
};

}  // namespace kl
