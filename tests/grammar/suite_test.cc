// The official JSON-Schema-Test-Suite, which is not ours to ship: $KL_SCHEMA_SUITE names a folder of it, such as
// JSON-Schema-Test-Suite/tests/draft2020-12.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "grammar/matcher.h"
#include "grammar/schema_compiler.h"
#include "kl/error.h"

namespace kl {
namespace {

using Json = nlohmann::ordered_json;

/// A schema of the suite, or nothing if it is refused.
std::optional<grammar::Automaton> compile(const Json& schema) {
  try {
    return grammar::compile_schema(schema.dump(), false, {});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return std::nullopt;
  }
}

TEST(SchemaSuite, NoInvalidInstanceCanBeWritten) {
  const char* folder = std::getenv("KL_SCHEMA_SUITE");
  if (folder == nullptr) GTEST_SKIP() << "the official test suite is not ours to ship: set KL_SCHEMA_SUITE";
  int schemas = 0, refused = 0, invalid = 0, valid = 0, writable = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".json") continue;
    std::ifstream in(file.path());
    for (const Json& group : Json::parse(in)) {
      ++schemas;
      const auto automaton = compile(group["schema"]);
      if (!automaton) {
        ++refused;
        continue;
      }
      for (const Json& test : group["tests"]) {
        grammar::Matcher matcher(*automaton);
        const bool fits = matcher.read(test["data"].dump()) && matcher.may_end();
        (test["valid"].get<bool>() ? valid : invalid) += 1;
        if (test["valid"].get<bool>()) writable += fits ? 1 : 0;
        EXPECT_FALSE(fits && !test["valid"].get<bool>())
            << file.path().filename() << ": " << group["description"] << ": " << test["description"];
      }
    }
  }
  EXPECT_GT(invalid, 0);
  std::printf("%d schemas, %d refused; of the others %d invalid instances, and %d of %d valid ones can be written\n",
              schemas, refused, invalid, writable, valid);
}

}  // namespace
}  // namespace kl
