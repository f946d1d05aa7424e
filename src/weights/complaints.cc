#include "weights/complaints.h"

#include <fmt/format.h>

#include <cctype>
#include <map>

#include "base/printable.h"

namespace kl {
namespace {

constexpr std::size_t kScreenful = 20;

/// "model.layers.12.mlp" -> "model.layers.*.mlp"
std::string pattern_of(const std::string& tensor) {
  std::string pattern;
  for (const char c : tensor) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) {
      pattern += c;
    } else if (pattern.empty() || pattern.back() != '*') {
      pattern += '*';
    }
  }
  return pattern;
}

}  // namespace

void Complaints::add(ErrorCode code, const std::string& tensor, const std::string& what) {
  if (seen_.insert(tensor).second) list_.push_back({code, tensor, what});
}

void Complaints::report(Problems& problems) const {
  const auto line = [](const Complaint& c) { return fmt::format("tensor {}: {}", printable(c.tensor), c.what); };
  if (list_.size() <= kScreenful) {
    for (const Complaint& complaint : list_) problems.add(complaint.code, line(complaint));
    return;
  }
  std::map<std::string, std::size_t> count;  // by pattern and complaint
  const auto key = [](const Complaint& c) { return pattern_of(c.tensor) + '\n' + c.what; };
  for (const Complaint& complaint : list_) ++count[key(complaint)];
  for (const Complaint& complaint : list_) {
    std::size_t& similar = count[key(complaint)];
    if (similar == 0) continue;  // told already
    problems.add(complaint.code, similar == 1 ? line(complaint)
                                              : fmt::format("{} (and {} more like {})", line(complaint), similar - 1,
                                                            printable(pattern_of(complaint.tensor))));
    similar = 0;
  }
}

}  // namespace kl
