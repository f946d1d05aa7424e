#!/usr/bin/env bash
# llama.cpp's own server tests, unmodified, against kl serve: llama_cpp.sh FOLDER [ARGUMENT OF PYTEST]...
# Gets them out of the source package of llama-cpp-python (from PyPI, so this is no part of ./test.sh) into FOLDER.
# $KL_PROGRAM: the program (default: build/release/bin/kl).  $PORT: what it may listen at (default: 18480).
# Those that cannot pass are named, each with its reason, in llama_cpp_deselected.txt.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
if (($# < 1)); then
  echo "usage: llama_cpp.sh FOLDER [ARGUMENT OF PYTEST]...      such as llama_cpp.sh /tmp/kl-llama-cpp -x" >&2
  exit 2
fi
version=0.3.36
mkdir -p "$1" && folder=$(cd "$1" && pwd) || exit 1
shift
source=llama_cpp_python-$version
tests=$folder/$source/vendor/llama.cpp/tools/server/tests
venv=$folder/venv

if [[ ! -x $venv/bin/python ]]; then
  python3 -m venv "$venv" || exit 1
fi
if [[ ! -d $tests ]]; then
  "$venv/bin/pip" download -q --no-binary :all: --no-deps -d "$folder" "llama-cpp-python==$version" || exit 1
  tar -xzf "$folder/$source.tar.gz" -C "$folder" --wildcards \
    '*/vendor/llama.cpp/tools/server/tests/*' '*/vendor/llama.cpp/models/templates/*' || exit 1
fi
"$venv/bin/pip" install -q -r "$tests/requirements.txt" || exit 1

export KL_PROGRAM=${KL_PROGRAM:-$(cd "$here/../.." && pwd)/build/release/bin/kl}
export LLAMA_SERVER_BIN_PATH=$here/llama_server.py PORT=${PORT:-18480} PYTHONPATH=$here
cd "$tests" || exit 1
exec "$venv/bin/python" -m pytest -q -p llama_cpp_plugin "$@"
