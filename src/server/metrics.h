#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kl/engine.h"

namespace kl {

/// Counts of observations by size, as Prometheus has them.
class Histogram {
 public:
  /// `bounds`: upper ends of the buckets, rising; one more bucket takes the rest.
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

  void observe(double value, std::uint64_t times = 1);

  /// Appends the series NAME_bucket, NAME_sum and NAME_count with HELP and TYPE.
  void write(std::string& out, std::string_view name, std::string_view help) const;

 private:
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;
  double sum_ = 0;
};

/// What one text cost, told when it is over.
struct FinishedText {
  std::string_view reason;  ///< "stop", "length", "abort", "error"
  TokenCounts tokens;
  double seconds = 0;  ///< from the request's arrival
  double queue_seconds = 0, prompt_seconds = 0, decode_seconds = 0;
};

/// What /metrics shows besides the engine's own counters.  Names and buckets are vLLM's, with kl_ for "vllm:", so that
/// dashboards port with a rename.  Source: vllm/v1/metrics/loggers.py.
///
/// Threads   the I/O thread alone, on which endpoints run.
class Metrics {
 public:
  Metrics();

  // For endpoints.
  void first_token(double seconds);  ///< since the request's arrival
  /// `seconds` after the last ones, `tokens` more came at once; each counts as an equal part.
  void more_tokens(double seconds, std::uint64_t tokens);
  void finished(const FinishedText& text);

  // For the HTTP layer.
  void answered(int status);
  std::int64_t connections = 0;       ///< open now
  std::uint64_t streams_aborted = 0;  ///< replies whose client had gone

  /// The whole page in Prometheus' text format, version 0.0.4.
  std::string text(const EngineStats& engine, bool ready) const;

 private:
  Histogram time_to_first_token_, inter_token_, seconds_, queue_, prompt_, decode_, prompt_tokens_, generated_tokens_;
  std::map<std::string, std::uint64_t, std::less<>> finished_;
  std::map<int, std::uint64_t> answered_;
};

}  // namespace kl
