#include <cstdio>

#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/line_editor.h"

namespace kl::cli {

struct LineEditor::Impl {
  Input input{"-"};
};

LineEditor::LineEditor() : impl_(std::make_unique<Impl>()) {}
LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::read(const char* prompt) {
  while (true) {
    std::fputs(prompt, stdout);
    std::fflush(stdout);
    try {
      return impl_->input.next_line();
    } catch (const Interrupted&) {
      catch_interrupts() = false;
      std::fputs("\n", stdout);
    }
  }
}

}  // namespace kl::cli
