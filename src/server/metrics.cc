#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace kl {
namespace {

std::vector<double> first_token_bounds() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
          1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
}

std::vector<double> inter_token_bounds() {
  return {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0};
}

std::vector<double> request_bounds() {
  return {0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
          30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
}

/// 1, 2, 5, 10, 20, 50, ... tokens
std::vector<double> token_bounds() {
  constexpr double kMost = 1e6;
  std::vector<double> bounds;
  for (double power = 1; power <= kMost; power *= 10) {
    for (const double digit : {1, 2, 5}) {
      if (digit * power <= kMost) bounds.push_back(digit * power);
    }
  }
  return bounds;
}

void header(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <class Number>
void single(std::string& out, std::string_view name, std::string_view type, Number value, std::string_view help) {
  header(out, name, type, help);
  fmt::format_to(std::back_inserter(out), "{} {}\n", name, value);
}

void write_engine(std::string& out, const EngineStats& engine) {
  const auto gauge = [&](auto name, auto value, auto help) { single(out, name, "gauge", value, help); };
  const auto counter = [&](auto name, auto value, auto help) { single(out, name, "counter", value, help); };
  gauge("kl_num_requests_running", engine.running, "Texts in the making.");
  gauge("kl_num_requests_waiting", engine.waiting, "Requests that wait for a slot.");
  const double budget = static_cast<double>(engine.cache_budget);
  gauge("kl_kv_cache_usage_perc", budget > 0 ? static_cast<double>(engine.cache_bytes) / budget : 0.0,
        "Checkpoints of texts that are over: part of their memory in use, 1 is all.");
  gauge("kl_kv_cache_bytes", engine.cache_bytes, "Bytes of checkpoints.");
  gauge("kl_kv_cache_checkpoints", engine.checkpoints, "Checkpoints held.");
  gauge("kl_state_bytes", engine.state_bytes, "Bytes of texts in the making.");
  counter("kl_prompt_tokens_total", engine.tokens.prompt, "Prompt tokens of all requests.");
  counter("kl_generation_tokens_total", engine.tokens.generated, "Tokens generated.");
  counter("kl_prefix_cache_queries_total", engine.tokens.prompt, "Prompt tokens looked for in the cache.");
  counter("kl_prefix_cache_hits_total", engine.tokens.cached, "Prompt tokens that came from the cache.");
  counter("kl_prefix_cache_evictions_total", engine.checkpoints_evicted, "Checkpoints that made room for others.");
  counter("kl_num_preemptions_total", engine.preemptions,
          "Texts that left their slot to others while their reader was slow.");
  counter("kl_spec_decode_num_draft_tokens_total", engine.tokens.drafted, "Tokens drafted.");
  counter("kl_spec_decode_num_accepted_tokens_total", engine.tokens.accepted, "Drafted tokens that held.");
  counter("kl_engine_steps_total", engine.steps, "Forward passes.");
  counter("kl_engine_prompt_seconds_total", engine.prompt_seconds, "Time spent reading prompts.");
  counter("kl_engine_decode_seconds_total", engine.decode_seconds, "Time spent generating.");
  counter("kl_requests_total", engine.requests, "Requests the engine took.");
  counter("kl_requests_refused_total", engine.refused, "Requests the engine refused.");
  counter("kl_requests_cancelled_total", engine.cancelled, "Requests whose client left or whose time was up.");
  counter("kl_requests_failed_total", engine.failed, "Requests that failed.");
}

}  // namespace

void Histogram::observe(double value, std::uint64_t times) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<std::size_t>(bucket)] += times;
  sum_ += value * static_cast<double>(times);
}

void Histogram::write(std::string& out, std::string_view name, std::string_view help) const {
  header(out, name, "histogram", help);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i];
    const std::string bound = i < bounds_.size() ? fmt::format("{}", bounds_[i]) : "+Inf";
    fmt::format_to(std::back_inserter(out), "{}_bucket{{le=\"{}\"}} {}\n", name, bound, total);
  }
  fmt::format_to(std::back_inserter(out), "{}_sum {}\n{}_count {}\n", name, sum_, name, total);
}

Metrics::Metrics()
    : time_to_first_token_(first_token_bounds()),
      inter_token_(inter_token_bounds()),
      seconds_(request_bounds()),
      queue_(request_bounds()),
      prompt_(request_bounds()),
      decode_(request_bounds()),
      prompt_tokens_(token_bounds()),
      generated_tokens_(token_bounds()) {
  for (const char* reason : {"stop", "length", "abort", "error"}) finished_[reason] = 0;
}

void Metrics::first_token(double seconds) { time_to_first_token_.observe(seconds); }

void Metrics::more_tokens(double seconds, std::uint64_t tokens) {
  if (tokens > 0) inter_token_.observe(seconds / static_cast<double>(tokens), tokens);
}

void Metrics::finished(const FinishedText& text) {
  ++finished_[std::string(text.reason)];
  seconds_.observe(text.seconds);
  queue_.observe(text.queue_seconds);
  prompt_.observe(text.prompt_seconds);
  decode_.observe(text.decode_seconds);
  prompt_tokens_.observe(static_cast<double>(text.tokens.prompt));
  generated_tokens_.observe(static_cast<double>(text.tokens.generated));
}

void Metrics::answered(int status) { ++answered_[status]; }

std::string Metrics::text(const EngineStats& engine, bool ready) const {
  std::string out;
  single(out, "kl_ready", "gauge", ready ? 1 : 0, "1 while /readyz says so.");
  write_engine(out, engine);
  header(out, "kl_request_success_total", "counter", "Texts that are over, by why.");
  for (const auto& [reason, count] : finished_) {
    fmt::format_to(std::back_inserter(out), "kl_request_success_total{{finished_reason=\"{}\"}} {}\n", reason, count);
  }
  time_to_first_token_.write(out, "kl_time_to_first_token_seconds", "From a request's arrival to its first token.");
  inter_token_.write(out, "kl_inter_token_latency_seconds", "From one token to the next.");
  seconds_.write(out, "kl_e2e_request_latency_seconds", "From a request's arrival to its end.");
  queue_.write(out, "kl_request_queue_time_seconds", "Waiting for a slot.");
  prompt_.write(out, "kl_request_prefill_time_seconds", "Reading the prompt.");
  decode_.write(out, "kl_request_decode_time_seconds", "Generating.");
  prompt_tokens_.write(out, "kl_request_prompt_tokens", "Prompt tokens of a request.");
  generated_tokens_.write(out, "kl_request_generation_tokens", "Tokens generated for a request.");
  header(out, "kl_http_responses_total", "counter", "Replies by status.");
  for (const auto& [status, count] : answered_) {
    fmt::format_to(std::back_inserter(out), "kl_http_responses_total{{status=\"{}\"}} {}\n", status, count);
  }
  single(out, "kl_http_connections", "gauge", connections, "Open connections.");
  single(out, "kl_http_streams_aborted_total", "counter", streams_aborted, "Replies whose client had gone.");
  return out;
}

}  // namespace kl
