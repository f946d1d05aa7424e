#!/usr/bin/env bash
# From a fresh clone to text: installs what is missing, builds the program, and lets the bundled model write.
cd "$(dirname "$0")" || exit 1
steps_total=2
source tools/lib/steps.sh
source tools/lib/packages.sh
source tools/lib/build.sh

case ${1:-} in
  "") ;;
  -h | --help)
    echo "usage: ./demo.sh      installs Debian packages if missing, builds build/release/bin/kl, generates a passage"
    exit 0
    ;;
  *)
    echo "demo.sh: $1: expected no argument (see --help)" >&2
    exit 2
    ;;
esac
trap 'echo; exit 130' INT

build_program() {
  is_configured release || configure release -DKL_TESTS=OFF || return
  build release kl-program
}

ask_for_sudo "${build_packages[@]}"
run_step "Debian packages" ensure_packages "${build_packages[@]}" || exit 1
run_step "program, release build" build_program || exit 1

kl=build/release/bin/kl
echo
echo "\$ $kl run -p \$'ROMEO:\\n' -n 160 --temp 0.7 --seed 1"
echo
"$kl" run -p $'ROMEO:\n' -n 160 --temp 0.7 --seed 1 -v || exit
cat <<TEXT

That was models/demo, a small but complete Kimi Linear trained on Shakespeare's plays (models/demo/README.md).
Done in $(seconds_since "$started_us").  What next:

  $kl chat                                 talk with it; /help inside
  $kl run -p 'To be, or' --seed 7          another beginning, another seed
  $kl inspect                              what the folder holds, layer by layer
  $kl run -m DIR -p TEXT                   any Kimi Linear model: a folder or a GGUF file
  ./test.sh                                proves the whole model against other people's implementations
  docs/architecture.md                     how it works
TEXT
