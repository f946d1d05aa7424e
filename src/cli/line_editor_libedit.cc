#include <histedit.h>

#include <clocale>
#include <cstdio>
#include <string_view>

#include "cli/line_editor.h"

namespace kl::cli {
namespace {

char* prompt_of(EditLine* editor) {
  void* prompt = nullptr;
  el_get(editor, EL_CLIENTDATA, &prompt);
  return static_cast<char*>(prompt);
}

}  // namespace

struct LineEditor::Impl {
  std::string prompt;
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
};

LineEditor::LineEditor() : impl_(std::make_unique<Impl>()) {
  // Without a UTF-8 locale libedit would take the bytes of a character for characters.
  if (const char* locale = std::setlocale(LC_CTYPE, ""); locale == nullptr || std::string_view(locale) == "C") {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
  impl_->editor = el_init("kl", stdin, stdout, stderr);
  impl_->history = ::history_init();
  constexpr int kRemembered = 1000;
  ::history(impl_->history, &impl_->event, H_SETSIZE, kRemembered);
  ::history(impl_->history, &impl_->event, H_SETUNIQUE, 1);
  el_set(impl_->editor, EL_PROMPT, prompt_of);
  el_set(impl_->editor, EL_EDITOR, "emacs");
  el_set(impl_->editor, EL_SIGNAL, 1);  // gives the terminal back before a signal ends the program
  el_set(impl_->editor, EL_HIST, ::history, impl_->history);
  el_set(impl_->editor, EL_SETTY, "-d", "-isig", nullptr);        // while editing, Ctrl-C is a key
  el_set(impl_->editor, EL_BIND, "^C", "em-kill-line", nullptr);  // that discards the line
}

LineEditor::~LineEditor() {
  ::history_end(impl_->history);
  el_end(impl_->editor);
}

std::optional<std::string> LineEditor::read(const char* prompt) {
  impl_->prompt = prompt;
  el_set(impl_->editor, EL_CLIENTDATA, impl_->prompt.data());
  int length = 0;
  const char* raw = el_gets(impl_->editor, &length);
  if (raw == nullptr || length <= 0) return {};
  std::string line(raw);
  if (line.ends_with('\n')) line.pop_back();
  if (!line.empty()) ::history(impl_->history, &impl_->event, H_ENTER, line.c_str());
  return line;
}

}  // namespace kl::cli
