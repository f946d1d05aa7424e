// The server as the page sees it: OpenAI's API, and what llama.cpp's server adds to it.
import { readEvents } from "./sse.js";

/// A request that failed.  `kind` says what the page can do about it:
///   "key"       401, 403: ask for an API key
///   "busy"      429, 503: wait `retryAfter` seconds
///   "lost"      no answer, or it broke off
///   "refused"   everything else; `message` is the server's, `param` the field it complains about
export class ApiError extends Error {
  constructor(kind, message, { status = 0, param = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, param, retryAfter });
  }
}

const keyName = "kl-api-key";

/// The API key lives as long as the tab, and nowhere but here.
export const apiKey = {
  get: () => sessionStorage.getItem(keyName) ?? "",
  set: (key) => (key ? sessionStorage.setItem(keyName, key) : sessionStorage.removeItem(keyName)),
};

async function send(path, options = {}) {
  const headers = { ...options.headers };
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  let response;
  try {
    // Addresses are relative, so that the page also works below a prefix of a reverse proxy.
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error instanceof TypeError && /header|ByteString/i.test(error.message)) {
      throw new ApiError("key", "The API key holds characters that no key can have.");
    }
    throw new ApiError("lost", "The server does not answer.");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

/// The error that a reply of status >= 400 means.
async function failure(response) {
  const status = response.status;
  const text = await response.text().catch(() => "");
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // Not OpenAI's schema: a proxy answered.  The status says enough.
  }
  const message = error.message ?? `The server answered with status ${status}.`;
  const details = { status, param: error.param ?? null, retryAfter: retryAfter(response.headers.get("Retry-After")) };
  if (status === 401 || status === 403) return new ApiError("key", message, details);
  if (status === 429 || status === 503) return new ApiError("busy", message, details);
  return new ApiError("refused", message, details);
}

/// Seconds of a Retry-After header, which holds a number or a date; null without one.
export function retryAfter(header) {
  if (header === null) return null;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 0), 3600) : null;
}

async function getJson(path) {
  const response = await send(path);
  return response.json().catch(() => {
    throw new ApiError("refused", `${path}: expected JSON, got something else.`);
  });
}

/// "ok", "busy" while it loads or drains, or "lost".
export async function health() {
  try {
    await send("health", { signal: AbortSignal.timeout(5000) });
    return "ok";
  } catch (error) {
    return error.kind === "busy" ? "busy" : "lost";
  }
}

/// Names of the models served; the first is the one asked.
export async function models() {
  const list = await getJson("v1/models");
  return (list.data ?? []).map((model) => String(model.id));
}

/// llama.cpp's description of the server: its default settings and how long a text may be.  {} where it has none.
export async function props() {
  return getJson("props").catch(() => ({}));
}

/// Streams one answer.  Yields {content}, {toolCalls}, {logprobs}, {finish}, {usage}, {timings} in the order in which they
/// come.  Throws ApiError; an abort of `signal` throws AbortError and cancels the request at the server.
export async function* streamChat(request, signal) {
  const response = await send("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  try {
    for await (const data of readEvents(response.body)) {
      if (data.trim() === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError("refused", chunk.error.message ?? "The answer failed.", { param: chunk.error.param });
      yield* parts(chunk);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    throw new ApiError("lost", "The connection was lost.");
  }
  throw new ApiError("lost", "The answer broke off.");
}

/// What one chat.completion.chunk says.
function* parts(chunk) {
  const choice = chunk.choices?.[0];
  if (choice) {
    if (choice.delta?.content) yield { content: choice.delta.content };
    if (choice.delta?.tool_calls) yield { toolCalls: choice.delta.tool_calls };
    if (choice.logprobs?.content) yield { logprobs: choice.logprobs.content };
    if (choice.finish_reason) yield { finish: choice.finish_reason };
  }
  if (chunk.usage) yield { usage: chunk.usage };
  if (chunk.timings) yield { timings: chunk.timings };
}
