#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kl {

bool is_token(std::string_view text);       ///< RFC 9110's token: at least one letter, digit or mark
bool is_field_text(std::string_view text);  ///< no control characters but tabs
std::string lower_case(std::string_view text);
std::string_view trimmed(std::string_view text);  ///< without spaces and tabs at both ends

/// The parts between commas, trimmed; empty ones left out.
std::vector<std::string_view> comma_list(std::string_view text);

/// %41 becomes A.  Nothing if a % is not followed by two hexadecimal digits, or stands for NUL.
std::optional<std::string> percent_decoded(std::string_view text);

/// "a=1&b=x+y" as pairs; nothing as above.
std::optional<std::vector<std::pair<std::string, std::string>>> query_fields(std::string_view query);

}  // namespace kl
