#pragma once
#include "kl/error.h"

namespace kl::cli {

/// What the program tells the shell.  docs/cli.md lists them; scripts depend on the numbers.
enum ExitStatus : int {
  kExitOk = 0,
  kExitFailure = 1,
  kExitUsage = 2,
  kExitBadInput = 3,
  kExitMemory = 4,
  kExitCannotWrite = 5,
  kExitInterrupted = 130,
};

constexpr ExitStatus exit_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return kExitUsage;
    case ErrorCode::kNotFound:
    case ErrorCode::kCorrupt:
    case ErrorCode::kUnsupported:
      return kExitBadInput;
    case ErrorCode::kOutOfMemory:
      return kExitMemory;
    case ErrorCode::kCannotWrite:
      return kExitCannotWrite;
    case ErrorCode::kFailure:
    case ErrorCode::kBusy:
      break;
  }
  return kExitFailure;
}

}  // namespace kl::cli
