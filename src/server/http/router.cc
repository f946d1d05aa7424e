#include "server/http/router.h"

#include <algorithm>

namespace kl {
namespace {

/// Whether `path` is one of those that `pattern` describes; see Route::path.
bool matches(std::string_view pattern, std::string_view path) {
  while (true) {
    const std::size_t brace = pattern.find('{');
    if (brace == pattern.npos) return pattern == path;
    if (path.substr(0, brace) != pattern.substr(0, brace) || path.size() == brace) return false;
    const std::size_t close = pattern.find('}', brace);
    if (pattern.substr(0, close).ends_with("...")) return true;
    pattern.remove_prefix(close + 1);
    path.remove_prefix(brace);
    if (path.front() == '/') return false;  // a part is not empty
    path.remove_prefix(std::min(path.find('/'), path.size()));
  }
}

}  // namespace

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    if (!matches(route.path, path)) continue;
    if (match.route == nullptr && route.method == wanted) match.route = &route;
    match.allow += route.method + ", ";
    if (route.method == "GET") match.allow += "HEAD, ";
  }
  if (!match.allow.empty()) match.allow += "OPTIONS";
  return match;
}

}  // namespace kl
