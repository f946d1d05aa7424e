#!/usr/bin/env bash
# The endpoints by curl, as a person at a shell asks them: curl.sh [URL]; $KL_API_KEY if the server asks for a key.
# Looks at status, content type and the shape of replies (with python3), not at what the model says.
url=${1:-http://127.0.0.1:8080}
url=${url%/}
passed=0
failed=0
body=$(mktemp)
trap 'rm -f "$body"' EXIT

# check NAME STATUS PYTHON CURL-ARGUMENTS...   PYTHON is an expression over `reply`, the parsed body, and `text`.
check() {
  local name=$1 status=$2 expression=$3 got
  shift 3
  : >"$body"
  got=$(curl -sS --max-time 120 -o "$body" -w '%{http_code}' ${KL_API_KEY:+-H "Authorization: Bearer $KL_API_KEY"} "$@")
  if [[ $got == "$status" ]] && python3 - "$body" "$expression" <<'PYTHON'
import json, sys
text = open(sys.argv[1], encoding="utf-8").read()
try:
    reply = json.loads(text)
except ValueError:
    reply = None
sys.exit(not eval(sys.argv[2]))
PYTHON
  then
    passed=$((passed + 1))
    echo "ok    $name"
  else
    failed=$((failed + 1))
    echo "FAIL  $name: status $got, expected $status and $expression"
    head -c 200 "$body"
    echo
  fi
}

post() {  # post PATH JSON: the arguments of curl
  printf '%s\n' "$url$1" -H "Content-Type: application/json" -d "$2"
}

check_post() {  # check_post NAME STATUS PYTHON PATH JSON
  local arguments
  mapfile -t arguments < <(post "$4" "$5")
  check "$1" "$2" "$3" "${arguments[@]}"
}

hello='"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0'

check "livez" 200 True "$url/livez"
check "readyz" 200 True "$url/readyz"
check "health" 200 'reply["status"] == "ok"' "$url/health"
check "metrics" 200 '"# TYPE " in text' "$url/metrics"
check "models" 200 'reply["data"][0]["object"] == "model"' "$url/v1/models"
check "props" 200 '"default_generation_settings" in reply' "$url/props"
check "slots" 200 'isinstance(reply, list) and reply[0]["id"] == 0' "$url/slots"
check "chat page" 200 '"<!doctype html>" in text' "$url/"
check_post "chat" 200 'reply["object"] == "chat.completion"' /v1/chat/completions "{$hello}"
check_post "chat, streamed" 200 'text.endswith("data: [DONE]\n\n")' /v1/chat/completions "{$hello, \"stream\": true}"
check_post "completions" 200 'reply["object"] == "text_completion"' /v1/completions '{"prompt": "To be", "max_tokens": 8}'
check_post "completions of token ids" 200 'reply["usage"]["prompt_tokens"] == 3' /v1/completions '{"prompt": [1, 2, 3], "max_tokens": 8}'
check_post "responses" 200 'reply["object"] == "response"' /v1/responses '{"input": "Say hello.", "max_output_tokens": 16}'
check_post "messages" 200 'reply["type"] == "message"' /v1/messages "{\"model\": \"kl\", $hello}"
check_post "tokenize" 200 'len(reply["tokens"]) > 0' /tokenize '{"content": "To be, or"}'
check_post "detokenize" 200 '"content" in reply' /detokenize '{"tokens": [1, 2, 3]}'
check_post "apply-template" 200 '"hello" in reply["prompt"]' /apply-template '{"messages": [{"role": "user", "content": "hello"}]}'
check_post "llama.cpp completion" 200 '"timings" in reply' /completion '{"prompt": "To be", "n_predict": 8}'
check_post "not JSON" 400 'reply["error"]["type"] == "invalid_request_error"' /v1/chat/completions '{'
check_post "a bad value" 400 'reply["error"]["param"] == "temperature"' /v1/chat/completions "{\"temperature\": 9, ${hello%, \"temperature\": 0}}"
check "no such path" 404 '"error" in reply' "$url/v1/no-such-path"
check "wrong method" 405 '"error" in reply' -X PUT "$url/v1/models"

echo "$passed passed, $failed failed"
exit $((failed > 0))
