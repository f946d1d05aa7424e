#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "server/exchange/route.h"

namespace kl {

/// Finds who answers a request.
class Router {
 public:
  explicit Router(std::vector<Route> routes) : routes_(std::move(routes)) {}

  struct Match {
    const Route* route = nullptr;  ///< for HEAD that of GET; none: unknown path or method
    std::string allow;             ///< "GET, HEAD, OPTIONS"; empty: unknown path
  };
  Match find(std::string_view method, std::string_view path) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace kl
