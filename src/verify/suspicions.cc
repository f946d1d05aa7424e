#include "verify/suspicions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

namespace kl {
namespace {

constexpr float kHuge = 1e4f;
constexpr std::int64_t kFewForOutlier = 1024;
constexpr double kOutlier = 1000;
constexpr std::size_t kFewPeers = 3;
constexpr double kFarPeer = 3;          // in powers of two
constexpr double kFarBeyond = 8;        // times the median distance
constexpr std::size_t kFewBytes = 256;  // below, chance or a convention may make two tensors equal

bool is_correction_bias(const Unit& u) { return u.role.find("correction_bias") != std::string::npos; }

/// A vector: as norms, biases and gates are.
bool is_flat(const Unit& u) { return u.role.ends_with("norm.weight") || u.role.find("bias") != std::string::npos; }

/// Scales of quantised weights may well be.
bool is_constant(const Unit& u) { return u.layout.is_plain() && u.stats.min == u.stats.max; }

void suspect(FindingRule rule, const Unit& u, std::string text, std::vector<Finding>& findings) {
  findings.push_back({rule, u.file, u.name, std::move(text), false});
}

void look_at(const Unit& u, std::vector<Finding>& findings) {
  const TensorStats& s = u.stats;
  if (s.count < 2 || s.nans + s.infs > 0) return;
  if (s.min == 0 && s.max == 0) {
    if (!is_correction_bias(u)) {
      suspect(FindingRule::kZero, u, fmt::format("expected weights, got {} zeros", s.count), findings);
    }
    return;
  }
  if (is_constant(u)) {
    if (!is_flat(u)) {
      suspect(FindingRule::kEqual, u, fmt::format("expected weights, got {} times {:.6g}", s.count, s.min), findings);
    }
    return;
  }
  const float value = std::abs(s.min) > s.max ? s.min : s.max;
  if (s.largest() > kHuge) {
    suspect(FindingRule::kHuge, u,
            fmt::format("expected magnitudes up to {:.0f}, got {:.6g} (root mean square of the others {:.3g})", kHuge,
                        value, s.rms_of_rest()),
            findings);
  } else if (s.count >= kFewForOutlier && s.largest() > kOutlier * s.rms_of_rest()) {
    suspect(FindingRule::kOutlier, u,
            fmt::format("expected magnitudes up to {:.0f} times the root mean square of the others, {:.3g}, got {:.6g}",
                        kOutlier, s.rms_of_rest(), value),
            findings);
  }
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Units of one role.
void compare_peers(const std::vector<const Unit*>& peers, std::vector<Finding>& findings) {
  if (peers.size() < kFewPeers) return;
  std::vector<double> logs, distances;
  for (const Unit* u : peers) logs.push_back(std::log2(u->stats.rms()));
  const double middle = median(logs);
  for (const double l : logs) distances.push_back(std::abs(l - middle));
  const double far = std::max(kFarPeer, kFarBeyond * median(distances));
  for (std::size_t i = 0; i < peers.size(); ++i) {
    if (distances[i] <= far) continue;
    suspect(FindingRule::kPeers, *peers[i],
            fmt::format("expected a root mean square near that of its {} peers, {:.3g}, got {:.3g}", peers.size() - 1,
                        std::exp2(middle), std::exp2(logs[i])),
            findings);
  }
}

void find_duplicates(const std::vector<Unit>& units, bool embeddings_are_tied, std::vector<Finding>& findings) {
  std::map<std::pair<std::uint64_t, std::size_t>, std::vector<const Unit*>> by_content;
  for (const Unit& u : units) {
    if (u.bytes < kFewBytes || is_constant(u) || (embeddings_are_tied && u.name == "lm_head.weight")) continue;
    std::vector<const Unit*>& alike = by_content[{u.stats.content, u.bytes}];
    for (const Unit* other : alike) {
      if (other->dtype != u.dtype || std::memcmp(other->data, u.data, u.bytes) != 0) continue;
      suspect(
          FindingRule::kDuplicate, u,
          fmt::format("expected weights of its own, got the {} bytes of {} in {}", u.bytes, other->name, other->file),
          findings);
      break;
    }
    alike.push_back(&u);
  }
}

}  // namespace

std::string role_of(const std::string& tensor_name) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string role;
  for (std::size_t at = 0; at <= tensor_name.size();) {
    const std::size_t dot = std::min(tensor_name.find('.', at), tensor_name.size());
    const std::string_view part = std::string_view(tensor_name).substr(at, dot - at);
    role += !part.empty() && std::all_of(part.begin(), part.end(), is_digit) ? "#" : part;
    if (dot < tensor_name.size()) role += '.';
    at = dot + 1;
  }
  return role;
}

void find_not_finite(const std::vector<Unit>& units, std::vector<Finding>& findings) {
  for (const Unit& u : units) {
    const TensorStats& s = u.stats;
    if (s.nans + s.infs == 0) continue;
    findings.push_back({FindingRule::kNotFinite, u.file, u.name,
                        fmt::format("expected finite {}, got {} NaN and {} infinite of {}, the first at {}",
                                    u.layout.is_plain() ? "numbers" : "scales", s.nans, s.infs, s.count, s.first_bad),
                        true});
  }
}

void find_suspicions(const std::vector<Unit>& units, bool embeddings_are_tied, std::vector<Finding>& findings) {
  std::map<std::string, std::vector<const Unit*>> by_role;
  for (const Unit& u : units) {
    look_at(u, findings);
    const bool has_size = u.stats.nans + u.stats.infs == 0 && u.stats.rms() > 0;
    if (has_size && !is_correction_bias(u)) by_role[u.role + ' ' + u.dtype].push_back(&u);
  }
  for (const auto& [role, peers] : by_role) compare_peers(peers, findings);
  find_duplicates(units, embeddings_are_tied, findings);
}

}  // namespace kl
