#pragma once
#include <set>
#include <string>
#include <vector>

#include "base/problems.h"

namespace kl {

/// Complaints about tensors, at most one a tensor.  A checkpoint that lacks one kind of expert lacks 6,656 tensors:
/// beyond a screenful, complaints that differ in numbers only are told as one.
class Complaints {
 public:
  /// `what` reads "expected X, got Y"; a second complaint about a tensor is dropped.
  void add(ErrorCode code, const std::string& tensor, const std::string& what);

  /// Adds them to `problems` as `tensor: what`, in the order they came.
  void report(Problems& problems) const;

 private:
  struct Complaint {
    ErrorCode code;
    std::string tensor;
    std::string what;
  };
  std::vector<Complaint> list_;
  std::set<std::string> seen_;
};

}  // namespace kl
