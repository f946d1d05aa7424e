#!/usr/bin/env bash
# Requests made of openapi.yaml, right and wrong ones, against a running server: schemathesis.sh URL FOLDER
# Installs schemathesis into a virtual environment in FOLDER (from PyPI, so this is no part of ./test.sh).
# $KL_API_KEY: the server's key, if it asks for one.
# $EXAMPLES: requests of each kind (default: 50).  The exit status is 1 if any check failed.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
if (($# != 2)); then
  echo "usage: schemathesis.sh URL FOLDER      such as schemathesis.sh http://127.0.0.1:8080 /tmp/kl-schemathesis" >&2
  exit 2
fi
url=$1
venv=$2/venv
if [[ ! -x $venv/bin/python ]]; then
  python3 -m venv "$venv" || exit 1
fi
"$venv/bin/pip" install -q schemathesis==4.32.5 || exit 1
cd "$2" || exit 1

# Not positive_data_acceptance: a schema cannot say all that makes a request right, such as that tool_choice names one of
# the tools, that a token is one of this model's, or that a prompt fits the context.
exec "$venv/bin/st" run "$here/../../openapi.yaml" --url "$url" -H "Authorization: Bearer ${KL_API_KEY:-none}" \
  --checks all --exclude-checks positive_data_acceptance --phases examples,coverage,fuzzing \
  --max-examples "${EXAMPLES:-50}" --seed 1 --request-timeout 60 --no-color --continue-on-failure
