#pragma once
#include <stdexcept>
#include <string>

namespace kl::jinja {

/// Something went wrong while a template ran.  Never leaves this folder: whoever runs templates adds the place and
/// throws kl::Error(kInvalidArgument).
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const std::string& what) { throw Failure(what); }

}  // namespace kl::jinja
