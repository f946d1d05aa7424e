#!/usr/bin/env bash
# Other people's clients, unmodified, against a running server: run.sh URL FOLDER
# Installs them into a virtual environment in FOLDER (from PyPI, so this is no part of ./test.sh).
# $KL_API_KEY if the server asks for a key.  The exit status is 1 if any check failed.
cd "$(dirname "$0")" || exit 1
if (($# != 2)); then
  echo "usage: run.sh URL FOLDER      such as run.sh http://127.0.0.1:8080 /tmp/kl-clients" >&2
  exit 2
fi
url=$1
venv=$2
if [[ ! -x $venv/bin/python ]]; then
  python3 -m venv "$venv" || exit 1
fi
"$venv/bin/pip" install -q -r requirements.txt || exit 1

failed=0
for client in openai_client.py anthropic_client.py; do
  echo "== $client"
  "$venv/bin/python" "$client" "$url" --api-key "${KL_API_KEY:-none}" || failed=1
done
echo "== curl.sh"
./curl.sh "$url" || failed=1
exit $failed
