#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace kl {

/// JSON as the endpoints read and write it: members keep the order in which they came, which a chat template can see.
using OrderedJson = nlohmann::ordered_json;

/// A request's body, parsed by the rules of base/json.h: no duplicate keys, no NaN, 64 levels, 64-bit integers.
/// Throws ApiError 400.
OrderedJson parse_body(std::string_view text);

/// One line.  Text that is no UTF-8 gets U+FFFD; numbers that are not finite become null.
std::string to_text(const OrderedJson& value);

/// "null", "-3", "\"text\"", "an array of 3", "an object": for messages.
std::string describe(const OrderedJson& value);

/// A number for a reply: JSON has no infinity, so what is below -9999 is written as -9999, which is what OpenAI does.
double writable(double logprob);

}  // namespace kl
