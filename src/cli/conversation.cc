#include "cli/conversation.h"

#include <nlohmann/json.hpp>

namespace kl::cli {

ChatInput chat_input(std::span<const Message> messages) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Message& m : messages) list.push_back({{"role", m.role}, {"content", m.content}});
  ChatInput input;
  // What a person typed may be no UTF-8; it gets U+FFFD as everywhere.
  input.messages = list.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace);
  return input;
}

}  // namespace kl::cli
