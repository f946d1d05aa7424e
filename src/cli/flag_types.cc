#include "cli/flag_types.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/printable.h"

namespace kl::cli {
namespace {

CLI::Validator not_empty() {
  return check("a text", [](const std::string& text) { return !text.empty(); });
}

/// A number that `set` gets.
template <class T, class Set>
CLI::Option* add_number_by(CLI::App& command, Names names, Set set, Bound<T> low, Bound<T> high, const char* what) {
  const auto read = [low, high](const std::string& text) -> std::optional<Bound<T>> {
    Bound<T> value{};
    const bool is_in = parses_as(text, value) && low <= value && value <= high;
    return is_in ? std::optional(value) : std::nullopt;
  };
  return command
      .add_option_function<std::string>(
          names, [set, read](const std::string& text) { set(static_cast<T>(*read(text))); }, what)
      ->type_name("N")
      ->check(check(fmt::format("a {}number from {} to {}", std::is_integral_v<T> ? "whole " : "", low, high),
                    [read](const std::string& text) { return read(text).has_value(); }));
}

}  // namespace

template <class T>
bool parses_as(const std::string& text, T& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc{} && end == text.data() + text.size();
}

CLI::Validator check(std::string expected, std::function<bool(const std::string&)> accepts) {
  return CLI::Validator(
      [expected = std::move(expected), accepts = std::move(accepts)](const std::string& text) -> std::string {
        return accepts(text)
                   ? ""
                   : fmt::format("expected {}, got {}", expected, text.empty() ? "nothing" : printable(text, 60));
      },
      "");
}

CLI::Validator dash_only(const char* hint) {
  return check(fmt::format("- or nothing ({})", hint), [](const std::string& text) { return text == "-"; });
}

template <class T>
CLI::Option* add_number(CLI::App& command, Names names, T& field, Bound<T> low, Bound<T> high, const char* what) {
  return add_number_by<T>(
             command, names, [&field](T value) { field = value; }, low, high, what)
      ->default_str(fmt::format("{}", field));
}

template <class T>
CLI::Option* add_number(CLI::App& command, Names names, std::optional<T>& field, Bound<T> low, Bound<T> high,
                        const char* what) {
  return add_number_by<T>(
      command, names, [&field](T value) { field = value; }, low, high, what);
}

CLI::Option* add_numbers(CLI::App& command, Names names, std::vector<int>& list, int low, int high, const char* what) {
  const auto parse = [low, high](const std::string& text) {
    std::optional<std::vector<int>> numbers(std::in_place);
    for (std::size_t at = 0; numbers && at <= text.size();) {
      const std::size_t comma = std::min(text.find(',', at), text.size());
      int number = 0;
      if (!parses_as(text.substr(at, comma - at), number) || number < low || number > high) return decltype(numbers){};
      numbers->push_back(number);
      at = comma + 1;
    }
    return numbers;
  };
  return command
      .add_option_function<std::string>(
          names, [&list, parse](const std::string& text) { list = *parse(text); }, what)
      ->type_name("N,...")
      ->default_str(fmt::format("{}", fmt::join(list, ",")))
      ->check(check(fmt::format("whole numbers from {} to {} separated by commas", low, high),
                    [parse](const std::string& text) { return parse(text).has_value(); }));
}

std::optional<std::size_t> parse_bytes(const std::string& text) {
  constexpr std::string_view kUnits = "KMGT";
  constexpr std::size_t kPerUnit = 1024, kMost = std::size_t{1} << 50;
  std::size_t bytes = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (problem != std::errc{} || unit.size() > 1 || bytes > kMost) return {};
  if (unit.empty()) return bytes;
  const std::size_t power = kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit.front()))));
  if (power == kUnits.npos) return {};
  for (std::size_t i = 0; i <= power; ++i) bytes *= kPerUnit;
  if (bytes > kMost) return {};
  return bytes;
}

CLI::Option* add_bytes(CLI::App& command, Names names, std::size_t& bytes, const char* shown, const char* what) {
  return command
      .add_option_function<std::string>(
          names, [&bytes](const std::string& text) { bytes = *parse_bytes(text); }, what)
      ->type_name("SIZE")
      ->default_str(shown)
      ->check(check("bytes, such as 64K, 512M or 4G",
                    [](const std::string& text) { return parse_bytes(text).has_value(); }));
}

CLI::Option* add_seconds(CLI::App& command, Names names, std::chrono::milliseconds& time, const char* what) {
  constexpr double kPerSecond = 1000, kDay = 86'400;
  const auto set = [&time](double seconds) { time = std::chrono::milliseconds(std::llround(seconds * kPerSecond)); };
  return add_number_by<double>(command, names, set, 0.001, kDay, what)
      ->type_name("SECONDS")
      ->default_str(time.count() == 0 ? "" : fmt::format("{}", static_cast<double>(time.count()) / kPerSecond));
}

template <class T>
CLI::Option* add_text(CLI::App& command, Names names, T& field, const char* type, const char* what) {
  return command
      .add_option_function<std::string>(
          names, [&field](const std::string& text) { field = text; }, what)
      ->type_name(type)
      ->check(not_empty());
}

CLI::Option* add_texts(CLI::App& command, Names names, std::vector<std::string>& texts, const char* type,
                       const char* what) {
  return command.add_option(names, texts, what)->type_name(type)->expected(1)->take_all()->check(not_empty());
}

CLI::Option* add_words(CLI::App& command, Names names, std::vector<std::string> words,
                       std::function<void(std::size_t)> choose, const std::string& shown, const char* type,
                       const char* what) {
  std::string expected = fmt::format("{}", fmt::join(words, " or "));
  const auto find = [words = std::move(words)](const std::string& text) {
    const auto word = std::find(words.begin(), words.end(), text);
    return word == words.end() ? std::nullopt : std::optional(static_cast<std::size_t>(word - words.begin()));
  };
  return command
      .add_option_function<std::string>(
          names, [choose = std::move(choose), find](const std::string& text) { choose(*find(text)); }, what)
      ->type_name(type)
      ->default_str(shown)
      ->check(check(std::move(expected), [find](const std::string& text) { return find(text).has_value(); }));
}

CLI::Option* add_word(CLI::App& command, Names names, std::string& field, std::vector<std::string> words,
                      const char* type, const char* what) {
  const auto choose = [&field, words](std::size_t i) { field = words[i]; };
  return add_words(command, names, words, choose, field, type, what);
}

template bool parses_as(const std::string&, int&);
template bool parses_as(const std::string&, float&);
template CLI::Option* add_number(CLI::App&, Names, int&, int, int, const char*);
template CLI::Option* add_number(CLI::App&, Names, std::int64_t&, std::int64_t, std::int64_t, const char*);
template CLI::Option* add_number(CLI::App&, Names, std::size_t&, std::size_t, std::size_t, const char*);
template CLI::Option* add_number(CLI::App&, Names, std::uint16_t&, std::uint16_t, std::uint16_t, const char*);
template CLI::Option* add_number(CLI::App&, Names, float&, double, double, const char*);
template CLI::Option* add_number(CLI::App&, Names, double&, double, double, const char*);
template CLI::Option* add_number(CLI::App&, Names, std::optional<int>&, int, int, const char*);
template CLI::Option* add_number(CLI::App&, Names, std::optional<std::size_t>&, std::size_t, std::size_t, const char*);
template CLI::Option* add_text(CLI::App&, Names, std::string&, const char*, const char*);
template CLI::Option* add_text(CLI::App&, Names, std::optional<std::string>&, const char*, const char*);
template CLI::Option* add_text(CLI::App&, Names, std::filesystem::path&, const char*, const char*);

}  // namespace kl::cli
