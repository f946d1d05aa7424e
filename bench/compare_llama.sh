#!/bin/bash
# Times kl and llama.cpp on the same work, one after the other, several times over, and prints the ratios of the medians.
#
#   bench/compare_llama.sh MODEL_DIR MODEL.gguf [--rounds 3] [flags of both: -p 512 -n 32 -d 0,4096 -b 1,4 -t 2 ...]
#
# MODEL.gguf is made if it is not there: slice8, quantised to 4 bit, random weights.  MODEL_DIR is the same shape for kl
# (kl synth --like slice8).  llama.cpp comes with the Python package llama-cpp-python; a Python that has it is taken from
# $LLAMA_PYTHON, else from a virtual environment in build/llama, made here (compiling it takes 10 minutes on 2 quiet cores).
# kl is $KL_PROGRAM, else the release build; the other side's driver is looked for in $KL_SHARED, else ../shared.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
kl=${KL_PROGRAM:-$root/build/release/bin/kl}
peers=${KL_SHARED:-$root/../shared}/peers

fail() {
  echo "compare_llama: $1" >&2
  exit "$2"
}

[ $# -ge 2 ] || fail "MODEL_DIR MODEL.gguf: expected two paths, got $#" 2
model=$1 gguf=$2
shift 2
rounds=3
if [ "${1:-}" = --rounds ]; then
  [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail "--rounds: expected a whole number from 1, got ${2:-nothing}" 2
  rounds=$2
  shift 2
fi
[ -x "$kl" ] || fail "$kl: expected the program kl, got none; build it or set KL_PROGRAM" 3
[ -f "$peers/llama_bench.py" ] || fail "$peers/llama_bench.py: expected the driver of llama.cpp, got none; set KL_SHARED" 3

python=${LLAMA_PYTHON:-$root/build/llama/bin/python}
if ! "$python" -c 'import llama_cpp' 2>/dev/null; then
  [ -z "${LLAMA_PYTHON:-}" ] || fail "$LLAMA_PYTHON: expected a Python with llama_cpp, got one without" 3
  python3 -m venv "$root/build/llama"
  "$python" -m pip install --quiet numpy llama-cpp-python
fi
if [ ! -f "$gguf" ]; then
  "$python" "$peers/gen_kimi_gguf.py" "$gguf.part" --config slice8 --mix q4_0
  mv "$gguf.part" "$gguf"
fi

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  "$kl" bench -m "$model" "$@" -o json >"$results/kl.$round.json"
  "$python" "$peers/llama_bench.py" "$gguf" "$@" -o json >"$results/llama.$round.json"
done
python3 "$root/bench/compare_llama.py" "$results"
