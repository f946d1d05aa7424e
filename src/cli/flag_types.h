#pragma once
// Flags by what they take.  A value that will not do is refused in our grammar, naming the flag:
// "--temp: expected a number from 0 to 100, got warm".
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace kl::cli {

/// Every adder names the flag ("-c,--ctx-size"), the field it sets, and `what` --help says of it.  The field's value when
/// the flag is added is the default that --help shows; an empty optional or text shows none.
using Names = const char*;

/// What bounds a T: fractions are compared as they were typed.
template <class T>
using Bound = std::conditional_t<std::is_integral_v<T>, T, double>;

/// A number from `low` to `high`.  T: int, std::int64_t, std::size_t, std::uint16_t, float or double.
template <class T>
CLI::Option* add_number(CLI::App& command, Names names, T& field, Bound<T> low, Bound<T> high, const char* what);
template <class T>
CLI::Option* add_number(CLI::App& command, Names names, std::optional<T>& field, Bound<T> low, Bound<T> high,
                        const char* what);

inline constexpr std::uint64_t kAnySeed = ~std::uint64_t{0};  ///< the most a seed may be

/// A whole number, or several separated by commas, each from `low` to `high`.
CLI::Option* add_numbers(CLI::App& command, Names names, std::vector<int>& list, int low, int high, const char* what);

/// A count of bytes: "512M", "4G" (powers of 1024) or a plain number.  `shown` is the default that --help shows.
CLI::Option* add_bytes(CLI::App& command, Names names, std::size_t& bytes, const char* shown, const char* what);
std::optional<std::size_t> parse_bytes(const std::string& text);  ///< nothing if it is none of these

/// A time in seconds, from a thousandth to a day; a default of none is not shown.
CLI::Option* add_seconds(CLI::App& command, Names names, std::chrono::milliseconds& time, const char* what);

/// A text that is not empty, such as a file's name.  T: std::string, std::optional<std::string>, std::filesystem::path.
template <class T>
CLI::Option* add_text(CLI::App& command, Names names, T& field, const char* type, const char* what);

/// The same for a flag that may be repeated.
CLI::Option* add_texts(CLI::App& command, Names names, std::vector<std::string>& texts, const char* type,
                       const char* what);

/// One of `words`; `choose` gets its index.
CLI::Option* add_words(CLI::App& command, Names names, std::vector<std::string> words,
                       std::function<void(std::size_t)> choose, const std::string& shown, const char* type,
                       const char* what);

/// One of several values that have names.
template <class T>
CLI::Option* add_choice(CLI::App& command, Names names, T& field, std::vector<std::pair<const char*, T>> choices,
                        const char* type, const char* what) {
  std::vector<std::string> words;
  std::string shown;
  for (const auto& [word, value] : choices) {
    words.emplace_back(word);
    if (value == field) shown = word;
  }
  const auto choose = [&field, choices = std::move(choices)](std::size_t i) { field = choices[i].second; };
  return add_words(command, names, std::move(words), choose, shown, type, what);
}

/// One of several words.
CLI::Option* add_word(CLI::App& command, Names names, std::string& field, std::vector<std::string> words,
                      const char* type, const char* what);

/// A check that says what it expected.
CLI::Validator check(std::string expected, std::function<bool(const std::string&)> accepts);
CLI::Validator dash_only(const char* hint);  ///< "-" for standard input

/// True, with the value set, if all of `text` is one number.  T as for add_number().
template <class T>
bool parses_as(const std::string& text, T& value);

}  // namespace kl::cli
