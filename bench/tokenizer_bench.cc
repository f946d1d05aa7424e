// How fast the tokenizer is: tokenizer_bench DIR FILE...
//
// Prints encoding and decoding speed on each file, best of five runs on one core, and the time that a million equal
// characters take.  DIR holds tiktoken.model.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "kl/error.h"
#include "kl/tokenizer.h"

namespace {

/// Processor time, so that what else runs on the machine matters less.
template <class Work>
double seconds(Work work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

template <class Work>
double best_seconds(Work work) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 5; ++i) best = std::min(best, seconds(work));
  return best;
}

void print_speed(const kl::Tokenizer& tokenizer, const std::string& name, const std::string& text) {
  std::vector<kl::Token> ids;
  std::string back;
  const double encode = best_seconds([&] { ids = tokenizer.encode(text); });
  const double decode = best_seconds([&] { back = tokenizer.decode(ids); });
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  fmt::print("{:40} {:8.2f} MB {:9} ids   encode {:7.1f} MB/s   decode {:7.1f} MB/s{}\n", name, megabytes, ids.size(),
             megabytes / encode, megabytes / decode, back == text ? "" : "   (ill-formed UTF-8 replaced)");
}

void print_runs(const kl::Tokenizer& tokenizer) {
  struct Run {
    const char* what;
    const char* character;
  };
  constexpr Run kRuns[] = {{"a", "a"},
                           {"A", "A"},
                           {"blank", " "},
                           {"line end", "\n"},
                           {"1", "1"},
                           {"!", "!"},
                           {"apostrophe", "'"},
                           {"e acute", "\u00e9"},
                           {"ideograph", "\u4e2d"},
                           {"kana", "\u3042"},
                           {"combining mark", "\u0301"},
                           {"emoji", "\U0001f600"}};
  for (const Run& run : kRuns) {
    std::string text;
    for (int i = 0; i < 1'000'000; ++i) text += run.character;
    fmt::print("1,000,000 times {:20} {:.3f} s\n", run.what, seconds([&] { (void)tokenizer.encode(text); }));
  }
  const std::string ill_formed(1'000'000, '\xFF');
  fmt::print("1,000,000 bytes FF, lossless         {:.3f} s\n",
             seconds([&] { (void)tokenizer.encode_bytes(ill_formed); }));
}

int run(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: tokenizer_bench DIR FILE...\n");
    return 2;
  }
  const double open = best_seconds([&] { kl::Tokenizer::open(argv[1]); });
  const kl::Tokenizer tokenizer = kl::Tokenizer::open(argv[1]);
  fmt::print("opening {}: {:.1f} ms\n", argv[1], open * 1e3);
  for (int i = 2; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    print_speed(tokenizer, argv[i], {std::istreambuf_iterator<char>(in), {}});
  }
  print_runs(tokenizer);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const kl::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
