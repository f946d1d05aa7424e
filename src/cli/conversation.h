#pragma once
#include <span>
#include <string>

#include "kl/chat_template.h"

namespace kl::cli {

/// One turn of a conversation.
struct Message {
  std::string role;
  std::string content;
};

/// What a chat template makes of these turns and the beginning of an answer.
ChatInput chat_input(std::span<const Message> messages);

}  // namespace kl::cli
