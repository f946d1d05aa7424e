#pragma once
#include <gtest/gtest.h>

#include <exception>
#include <string>

#include "kl/error.h"

namespace kl {

/// What a call threw, as values a test can compare.
struct ErrorSeen {
  bool thrown = false;
  ErrorCode code = ErrorCode::kFailure;
  std::string message;

  bool mentions(const std::string& text) const { return message.find(text) != std::string::npos; }
};

template <class F>
ErrorSeen error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return {true, error.code(), error.what()};
  } catch (const std::exception& error) {
    ADD_FAILURE() << "expected kl::Error, got " << error.what();
    return {true, ErrorCode::kFailure, error.what()};
  }
  return {};
}

}  // namespace kl
