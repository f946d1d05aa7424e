#pragma once
#include <vector>

#include "server/route.h"

namespace kl {

/// The chat page: its files (src/server/page/), which are part of the program.
///
/// The page may run scripts and styles of this server only, and may talk to this server only: its content security policy
/// says so to the browser.  Its routes hold nothing secret and want no API key: the page asks for the key.
std::vector<Route> page_routes();

}  // namespace kl
