"""Conversations with `kl serve` for record_outputs.py: requests that have one answer, and what is compared of it."""
import concurrent.futures
import http.client
import json
import re
import subprocess

MESSAGES = [{"role": "user", "content": "Who goes there?"}]
HISTORY = [{"role": "system", "content": "Thou art a king."}, {"role": "user", "content": "Speak, my lord."},
           {"role": "assistant", "content": "I am the king."}, {"role": "user", "content": "What news?"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}, "days": {"type": "integer"}},
           "required": ["city"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": WEATHER}},
         {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
CALLED = [{"role": "user", "content": "Weather in Rome?"},
          {"role": "assistant", "content": None, "tool_calls": [
              {"id": "functions.weather:0", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}}]},
          {"role": "tool", "tool_call_id": "functions.weather:0", "content": "sunny"}]
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 10}, "age": {"type": "integer", "minimum": 0}},
          "required": ["name", "age"], "additionalProperties": False}
RESPONSE_TOOLS = [{"type": "function", "name": "weather", "parameters": WEATHER}]
ANTHROPIC_TOOLS = [{"name": "weather", "description": "Of a city.", "input_schema": WEATHER}]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
GREEDY = {"temperature": 0, "max_tokens": 24, "seed": 1}
SEEDED = {"seed": 11, "temperature": 0.9, "max_tokens": 24}


def chats():
    ask = {"messages": MESSAGES}
    yield "greedy", ask | GREEDY
    yield "history", {"messages": HISTORY} | GREEDY
    yield "seeded", ask | SEEDED
    yield "stream", ask | SEEDED | STREAM
    yield "two", ask | SEEDED | {"n": 2}
    yield "two-stream", ask | SEEDED | STREAM | {"n": 2}
    yield "logprobs", ask | SEEDED | {"logprobs": True, "top_logprobs": 4}
    yield "logprobs-stream", ask | GREEDY | STREAM | {"logprobs": True, "top_logprobs": 2}
    yield "stop", ask | SEEDED | {"stop": ["e ", "\n"]}
    yield "stop-stream", ask | SEEDED | STREAM | {"stop": ["you", "\n\n"], "max_tokens": 60}
    yield "samplers", ask | SEEDED | {"top_k": 30, "top_p": 0.8, "min_p": 0.05, "logit_bias": {"10": -100, "411": 2}}
    yield "penalties", ask | SEEDED | {"presence_penalty": 0.5, "frequency_penalty": 0.7, "repetition_penalty": 1.2}
    yield "tools-auto", ask | SEEDED | {"tools": TOOLS}
    yield "tools-required", ask | SEEDED | {"tools": TOOLS, "tool_choice": "required", "max_tokens": 80}
    yield "tools-required-stream", ask | SEEDED | STREAM | {"tools": TOOLS, "tool_choice": "required", "max_tokens": 80}
    yield "tools-named", ask | SEEDED | {"tools": TOOLS, "max_tokens": 60, "parallel_tool_calls": False,
                                         "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    yield "tools-none", ask | SEEDED | {"tools": TOOLS, "tool_choice": "none"}
    yield "tools-answered", {"messages": CALLED, "tools": TOOLS} | SEEDED
    yield "object", ask | SEEDED | {"response_format": {"type": "json_object"}, "max_tokens": 60}
    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    yield "schema", ask | SEEDED | {"response_format": schema, "max_tokens": 60}
    yield "schema-stream", ask | SEEDED | STREAM | {"response_format": schema, "max_tokens": 60}
    yield "parts", {"messages": [{"role": "developer", "content": "Rhyme."}, {"role": "user", "content": [
        {"type": "text", "text": "one "}, {"type": "text", "text": "two"}]}]} | GREEDY
    yield "continued", {"messages": HISTORY[:3], "continue_final_message": True, "add_generation_prompt": False} | GREEDY
    yield "no-end", ask | GREEDY | {"ignore_eos": True, "max_tokens": 50}
    yield "no-cache", {"messages": HISTORY} | GREEDY | {"cache_prompt": False}


def completions():
    ask = {"prompt": "ROMEO:"}
    yield "greedy", ask | GREEDY
    yield "seeded", ask | SEEDED | {"n": 2, "logprobs": 3}
    yield "stream", ask | SEEDED | STREAM | {"logprobs": 1, "stop": ["."]}
    yield "scored", {"prompt": "To be, or not to be: that is the question.", "echo": True, "logprobs": 2, "max_tokens": 0}
    yield "scored-from", {"prompt": "To be, or not to be, that is", "echo": True, "logprobs": 1, "max_tokens": 2, "score_from": 4,
                          "temperature": 0}
    yield "prompts", {"prompt": ["ROMEO:", "JULIET:", "All:"]} | SEEDED
    yield "ids", {"prompt": [[10, 20, 30], [400, 500]]} | GREEDY
    yield "schema", ask | SEEDED | {"json_schema": PERSON, "max_tokens": 60}
    yield "echo-stream", ask | SEEDED | {"stream": True, "echo": True}


def responses():
    ask = {"input": "Who goes there?", "seed": 4, "max_output_tokens": 24}
    yield "text", ask
    yield "instructions", ask | {"instructions": "Thou art a ghost.", "temperature": 0, "metadata": {"a": "b"}}
    yield "stream", ask | {"stream": True}
    yield "tools", ask | {"tools": RESPONSE_TOOLS, "tool_choice": "required", "max_output_tokens": 80}
    yield "tools-stream", ask | {"tools": RESPONSE_TOOLS, "tool_choice": "required", "max_output_tokens": 80, "stream": True}
    yield "schema", ask | {"max_output_tokens": 60, "text": {"format": {"type": "json_schema", "name": "person", "schema": PERSON}}}
    yield "items", ask | {"tools": RESPONSE_TOOLS, "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "function_call", "call_id": "functions.weather:0", "name": "weather", "arguments": "{\"city\":\"Rome\"}"},
        {"type": "function_call_output", "call_id": "functions.weather:0", "output": "sunny"}]}


def messages():
    ask = {"messages": MESSAGES, "max_tokens": 24, "seed": 3}
    yield "text", ask | {"system": "Thou art a fool."}
    yield "stream", ask | {"stream": True, "temperature": 0}
    yield "stop", ask | {"stop_sequences": ["e", "\n"]}
    yield "tools", ask | {"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "any"}, "max_tokens": 80}
    yield "tools-stream", ask | {"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "tool", "name": "weather"}, "max_tokens": 80,
                                 "stream": True}
    yield "tool-result", ask | {"tools": ANTHROPIC_TOOLS, "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, {
            "type": "tool_use", "id": "functions.weather:0", "name": "weather", "input": {"city": "Rome"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions.weather:0", "content": "sunny"}]}]}
    yield "continued", ask | {"messages": HISTORY[1:3], "temperature": 0}


def llama():
    ask = {"prompt": "ROMEO:", "n_predict": 24}
    yield "greedy", ask | {"temperature": 0, "seed": 1, "return_tokens": True}
    yield "probs", ask | {"seed": 5, "n_probs": 3}
    yield "stream", ask | {"seed": 5, "stream": True, "n_probs": 1}
    yield "special", ask | {"prompt": "<|im_user|>user<|im_middle|>Hi<|im_end|>", "parse_special": True, "seed": 6}
    yield "mixed", ask | {"prompt": [10, "To be", 20], "temperature": 0, "seed": 1}
    yield "two", ask | {"n_cmpl": 2, "seed": 8, "json_schema": PERSON}


def others():
    yield "/tokenize", {"content": "To be <|im_end|>", "with_pieces": True}
    yield "/tokenize", {"content": "To be <|im_end|>", "parse_special": False}
    yield "/detokenize", {"tokens": [10, 20, 30, 400, 994]}
    yield "/apply-template", {"messages": CALLED, "tools": TOOLS}
    yield "/v1/messages/count_tokens", {"messages": MESSAGES, "system": "Thou art a fool.", "tools": ANTHROPIC_TOOLS}
    yield "/v1/chat/completions/input_tokens", {"messages": HISTORY}


CONVERSATIONS = [("/v1/chat/completions", chats), ("/v1/completions", completions), ("/v1/responses", responses),
                 ("/v1/messages", messages), ("/completion", llama)]
REFUSED = [("/v1/chat/completions", {"messages": []}), ("/v1/chat/completions", {"messages": MESSAGES, "temperature": "hot"}),
           ("/v1/completions", {"prompt": "x", "suffix": "y"}), ("/v1/messages", {"messages": MESSAGES}),
           ("/v1/responses", {"input": "x", "previous_response_id": "resp_x"})]


class Server:
    def __init__(self, recorder, *flags):
        command = [recorder.program, "serve", "--port", "0", "--log-format", "json", "--alias", "demo", *map(str, flags)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=recorder.environment)
        self.port = int(self.process.stdout.readline().split()[0].rsplit(b":", 1)[1])

    def ask(self, path, request, method="POST"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, request if request is None else json.dumps(request))
        reply = connection.getresponse()
        body = reply.read().decode()
        connection.close()
        return reply.status, body

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0


# Random ids, and what time and the batch decide.
ID = re.compile(r"\b(chatcmpl-|cmpl-|resp_|msg_|fc_)[0-9a-v]{24}\b")
OF_TIME = {"created", "created_at", "completed_at", "timings"}
OF_COMPANY = {"cached_tokens", "cache_read_input_tokens", "input_tokens", "cache_miss_reason", "tokens_cached", "id_slot"}


def without(value, names):
    if isinstance(value, dict):
        return {k: without(v, names) for k, v in value.items() if k not in names}
    return [without(v, names) for v in value] if isinstance(value, list) else value


def comparable(reply, names=OF_TIME):
    """Status and body; of a stream its events, of which comments are no part."""
    status, body = reply
    body = ID.sub(r"\1ID", body)
    if body.startswith("{") or body.startswith("["):
        return json.dumps([status, without(json.loads(body), names)])
    events = []
    for line in body.splitlines():
        is_object = line.startswith("data: {")
        if not line.startswith(":"):
            events.append(json.dumps(without(json.loads(line[6:]), names)) if is_object else line)
    return json.dumps([status, events])


def record_turns(put, server):
    """Conversations whose later turns depend on earlier answers, from the cache and not."""
    for seed in (1, 2):
        turns = []
        for question in ("Who art thou?", "And thy father?", "Farewell."):
            turns.append({"role": "user", "content": question})
            reply = server.ask("/v1/chat/completions", {"messages": turns, "seed": seed, "max_tokens": 20})
            turns.append({"role": "assistant", "content": json.loads(reply[1])["choices"][0]["message"]["content"]})
            put(f"turns/{seed}/{len(turns) // 2}", comparable(reply))
    previous = {}
    for question in ("Who art thou?", "And thy father?"):
        reply = server.ask("/v1/responses", {"input": question, "seed": 5, "max_output_tokens": 20} | previous)
        previous = {"previous_response_id": json.loads(reply[1])["id"]}
        put(f"turns/responses/{question}", comparable(reply))
    stored = server.ask("/v1/responses/" + previous["previous_response_id"], None, "GET")
    put("turns/responses/stored", comparable(stored))


def record_together(put, server):
    """Requests that run side by side: each has the text that it has alone."""
    requests = [("/v1/completions", {"prompt": p, "seed": i, "max_tokens": 40, "temperature": i % 3 / 2, "logprobs": 1})
                for i, p in enumerate(("ROMEO:", "JULIET:", "To be", "ROMEO: O", "KING", "All", "ROMEO:", "JULIET:"))]
    requests += [("/v1/chat/completions", {"messages": HISTORY} | SEEDED | {"n": 2})]
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as threads:
        replies = list(threads.map(lambda request: server.ask(*request), requests))
    for i, reply in enumerate(replies):
        put(f"together/{i}", comparable(reply, OF_TIME | OF_COMPANY))


def record_conversations(recorder, model, folder):
    sessions = folder / "sessions"
    sessions.mkdir()
    flags = {"plain": ["--parallel", 4], "drafts": ["--parallel", 4, "--speculate", "ngram"],
             "exact": ["--parallel", 2, "--compute", "f32", "--mla", "expanded"]}
    for name in flags if recorder.is_whole else ("plain",):
        server = Server(recorder, "-m", model, "-t", 1, "-c", 4096, "--cache-bytes", "64M", "--slot-save-path", sessions, *flags[name])
        put = lambda what, text: recorder.put(f"serve/{name}/{what}", text)
        try:
            for path, requests in CONVERSATIONS:
                for what, request in requests():
                    put(f"{path[1:]}/{what}", comparable(server.ask(path, request)))
            for i, (path, request) in enumerate(others()):
                put(f"others/{i}", comparable(server.ask(path, request)))
            for i, (path, request) in enumerate(REFUSED):
                recorder.put(f"~serve/{name}/refused/{i}", comparable(server.ask(path, request)))
            record_turns(put, server)
            record_together(put, server)
            server.ask("/completion", {"prompt": "HAMLET: To be", "n_predict": 10, "temperature": 0, "seed": 1, "id_slot": 0})
            server.ask("/slots/0?action=save", {"filename": name})
            put("session", (sessions / name).read_bytes())
            server.ask("/slots/1?action=restore", {"filename": name})
            put("restored", comparable(server.ask("/completion", {
                "prompt": "HAMLET: To be", "n_predict": 20, "temperature": 0, "seed": 1, "id_slot": 1})))
        finally:
            server.stop()
