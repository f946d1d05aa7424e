// Feeds the template engine: the input is a template up to the first NUL byte, and the JSON of its variable `x` after
// it.
//
// Whatever it is, it ends within its limits with a text or a kl::Error; a text is well-formed UTF-8, its marks match
// its bytes, and rendering again gives it again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/utf8.h"
#include "jinja/template.h"
#include "kl/error.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

kl::jinja::Limits small() {
  kl::jinja::Limits limits;
  limits.steps = 100'000;
  limits.output_bytes = 1u << 18;
  limits.memory_bytes = 16u << 20;
  limits.depth = 200;
  limits.time = std::chrono::milliseconds(60'000);
  return limits;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), size);
  const std::string json(input.substr(std::min(end + 1, size)));
  if (input.find("strftime_now") != input.npos) return 0;  // may change between two renderings
  try {
    const kl::jinja::Template parsed(input.substr(0, end), "fuzz");
    const std::vector<kl::jinja::Variable> variables = {{"x", json.empty() ? "[1, \"a\", {\"k\": null}]" : json}};
    const kl::jinja::Text text = parsed.render(variables, small());
    require(kl::well_formed_prefix(text.bytes()) == text.size());
    std::size_t covered = 0;
    while (covered < text.size()) covered = text.stretch_end(covered);
    require(covered == text.size());
    require(parsed.render(variables, small()).bytes() == text.bytes());
  } catch (const kl::Error&) {}
  return 0;
}
