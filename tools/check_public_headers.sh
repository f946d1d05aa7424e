#!/usr/bin/env bash
# Fails if a header of include/kl/ does not compile by itself.   tools/check_public_headers.sh COMPILER
cd "$(dirname "$0")/.." || exit 1
compile() {  # as a program would include it: a file whose only line names the header
  "$1" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -Iinclude -x c++ - <<<"#include \"${2#include/}\""
}
export -f compile
printf '%s\n' include/kl/*.h | xargs -P "$(nproc)" -I{} bash -c 'compile "$@"' _ "$1" {} || exit 1
echo "every public header compiles by itself"
