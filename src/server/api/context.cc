#include "server/api/context.h"

#include <fmt/format.h>

#include <mutex>
#include <random>

#include "base/printable.h"
#include "kl/version.h"
#include "server/exchange/api_error.h"

namespace kl {
namespace {

/// 64 random bits; from the system's own source at the start, so two servers do not agree.
std::uint64_t random_bits() {
  static std::mutex mutex;
  static std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seeds{device(), device(), device(), device(), device(), device(), device(), device()};
    return std::mt19937_64(seeds);
  }();
  const std::lock_guard lock(mutex);
  return generator();
}

}  // namespace

std::string new_id(std::string_view prefix) {
  static constexpr std::string_view kAlphabet = "0123456789abcdefghijklmnopqrstuv";  // 5 bits each
  std::string id(prefix);
  for (int word = 0; word < 2; ++word) {
    std::uint64_t bits = random_bits();
    for (int i = 0; i < 12; ++i, bits >>= 5) id += kAlphabet[bits & 31];
  }
  return id;
}

std::uint64_t new_seed() { return random_bits() >> 32; }

std::int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string fingerprint() { return fmt::format("b{}-kl", kVersion); }

void check_model_name(const ApiContext& context, std::string_view name) {
  if (!context.options.strict || name.empty() || name == context.options.model_name) return;
  throw ApiError{
      .status = 404,
      .message = fmt::format("model: expected \"{}\", got \"{}\"", context.options.model_name, printable(name)),
      .param = "model",
      .code = "model_not_found"};
}

}  // namespace kl
