#pragma once
#include <vector>

#include "server/exchange/route.h"

namespace kl {

/// GET routes of the chat page: "/", and one for each of its other files (src/server/page/), which are in the program.
///
/// With every file goes a content security policy: scripts, styles and requests of this server only, nothing inline, and
/// no text that becomes HTML.  docs/chat-page.md says what the page does.
std::vector<Route> page_routes();

}  // namespace kl
