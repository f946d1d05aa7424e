#pragma once
#include <stdexcept>
#include <string>

namespace kl {

/// Why an operation could not be carried out.  Programs switch on the code; people read the message.
/// The number in brackets is the exit status of the `kl` program.
enum class ErrorCode {
  kFailure,          ///< something went wrong that no other code names (1)
  kInvalidArgument,  ///< the caller asked for something impossible: a flag, a request field (2)
  kNotFound,         ///< a file or folder is missing or unreadable (3)
  kCorrupt,          ///< a file breaks its format, or files disagree with each other (3)
  kUnsupported,      ///< the file is sound but describes something kl does not compute (3)
  kOutOfMemory,      ///< memory or threads could not be had (4)
  kCannotWrite,      ///< an output could not be written completely (5)
  kBusy,             ///< no room for one more just now; try again later (1)
};

/// The only exception type this library throws.  Messages read `subject: expected X, got Y`, the subject being a file,
/// a tensor, a field or a flag.  Thrown by loading, parsing and argument checks; never by kernels or layers.
class Error : public std::runtime_error {
 public:
  /// `message` is what what() says.
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }  ///< the kind of problem: the exit status of the program

 private:
  ErrorCode code_;
};

}  // namespace kl
