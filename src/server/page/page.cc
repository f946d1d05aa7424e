#include "server/page/page.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/page/page_files.h"

namespace kl {
namespace {

constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types "
    "'none'";

const char* content_type(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  return "image/svg+xml";
}

Endpoint endpoint(const PageFile& file) {
  return [file](const std::shared_ptr<Exchange>& exchange) {
    exchange->reply(200, content_type(file.name), std::string(file.bytes),
                    {{"Content-Security-Policy", kPolicy},
                     {"X-Content-Type-Options", "nosniff"},
                     {"Referrer-Policy", "no-referrer"},
                     {"Cache-Control", "no-cache"}});
  };
}

}  // namespace

std::vector<Route> page_routes() {
  std::vector<Route> routes;
  for (const PageFile& file : page_files()) {
    Route route;
    route.method = "GET";
    route.path.push_back('/');
    if (file.name != "index.html") route.path += file.name;
    route.endpoint = endpoint(file);
    routes.push_back(std::move(route));
  }
  return routes;
}

}  // namespace kl
