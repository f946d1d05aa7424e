// openapi.yaml and docs/api.md say what the tables say.  KL_WRITE_API_DOCS=1 writes them again.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "server/api/openapi.h"
#include "server/api/parameters.h"
#include "server/api/route_table.h"

namespace kl {
namespace {

std::string path_of(const std::string& name) { return std::string(KL_SOURCE_DIR) + "/" + name; }

std::string read(const std::string& name) {
  std::ifstream file(path_of(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_if_asked(const std::string& name, const std::string& text) {
  if (std::getenv("KL_WRITE_API_DOCS")) std::ofstream(path_of(name), std::ios::binary) << text;
}

TEST(OpenApi, TheFileIsWhatTheTablesSay) {
  write_if_asked("openapi.yaml", openapi_yaml());
  EXPECT_EQ(read("openapi.yaml"), openapi_yaml()) << "run this test with KL_WRITE_API_DOCS=1";
}

TEST(OpenApi, TheDocsAreWhatTheTablesSay) {
  const std::string begin = "<!-- fields: begin, made of the table of parameters -->\n", end = "<!-- fields: end -->\n";
  std::string docs = read("docs/api.md");
  const std::size_t from = docs.find(begin), to = docs.find(end);
  ASSERT_TRUE(from != std::string::npos && to != std::string::npos);
  const std::size_t start = from + begin.size();
  write_if_asked("docs/api.md", docs.substr(0, start) + fields_markdown() + docs.substr(to));
  docs = read("docs/api.md");
  EXPECT_EQ(docs.substr(start, docs.find(end) - start), fields_markdown()) << "run this test with KL_WRITE_API_DOCS=1";
}

TEST(OpenApi, EveryReferenceIsThere) {
  const std::string text = openapi_yaml();
  const std::string mark = "\"#/components/schemas/";
  std::size_t count = 0;
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1), ++count) {
    const std::size_t start = at + mark.size();
    const std::string name = text.substr(start, text.find('"', start) - start);
    EXPECT_NE(text.find("\n    \"" + name + "\":\n"), std::string::npos) << name;
  }
  EXPECT_GT(count, 50u);
}

TEST(OpenApi, NamesEveryRoute) {
  const std::string docs = read("docs/api.md");
  for (const RouteRow& row : route_table()) {
    std::string path = row.path;
    if (const std::size_t dots = path.find("...}"); dots != std::string::npos) path.erase(dots, 3);
    EXPECT_NE(openapi_yaml().find("\n  \"" + path + "\":\n"), std::string::npos) << path;
    EXPECT_NE(docs.find("`" + path + "`"), std::string::npos) << path;
  }
}

}  // namespace
}  // namespace kl
