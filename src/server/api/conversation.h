#pragma once
#include <string>
#include <vector>

#include "kl/tokenizer.h"
#include "server/api/context.h"
#include "server/api/fields.h"
#include "server/api/tools.h"

namespace kl {

/// A conversation in the form a chat template is given: OpenAI's messages, with `content` one text, `developer` called
/// "system", and ids of calls as the model knows them.
class Conversation {
 public:
  Conversation();
  ~Conversation();
  Conversation(Conversation&&) noexcept;
  Conversation(const Conversation& other);
  Conversation& operator=(Conversation other) noexcept;

  void add_text(const std::string& role, const std::string& content, const std::string& name = {});

  /// What an assistant called; belongs to the last message if that is an assistant's.
  /// The model knows calls as "functions.NAME:INDEX"; an `id` of another form is replaced by one.
  void add_call(const std::string& id, const std::string& name, const std::string& arguments);

  /// What a call gave; `id` as it stood in add_call().
  void add_result(const std::string& id, const std::string& name, const std::string& content);

  /// A member of the last message that the template gets as it is.
  void set_extra(const std::string& member, const std::string& text);

  /// Puts a system message before everything else.
  void prepend_system(const std::string& content);

  /// JSON array.
  std::string json() const;
  bool ends_with_text() const;  ///< of an assistant that called nothing

 private:
  struct Impl;
  bool ends_with_assistant() const;
  std::unique_ptr<Impl> impl_;
};

/// The array "messages" of a chat.  Throws ApiError 400 naming the field.
Conversation read_chat_messages(const Fields& body);

/// What precedes the answer.
struct ChatPromptOptions {
  bool add_generation_prompt = true;
  bool continue_last = false;  ///< go on in the last message, which is an assistant's
  std::string variables;       ///< JSON object, or empty
};

/// The ids of a conversation; its text can make no control token.
/// Throws ApiError 400 with the template's own words, `param` "messages".
std::vector<Token> make_chat_prompt(const ApiContext& context, const Conversation& conversation, const Tools& tools,
                                    const ChatPromptOptions& options);

/// The same as text, control tokens spelled out.
std::string render_chat(const ApiContext& context, const Conversation& conversation, const Tools& tools,
                        const ChatPromptOptions& options);

/// `add_generation_prompt` and `chat_template_kwargs` of a body.
ChatPromptOptions read_prompt_options(const Fields& body);

/// Texts of an array of parts put together, or the string itself.  `body` says what a part is.
std::string join_parts(const OrderedJson& content, Body body, const std::string& path, bool strict);

}  // namespace kl
