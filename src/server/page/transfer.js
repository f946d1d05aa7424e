// Conversations as a JSON file: written here, read from anywhere.  A file may come from a stranger, so reading takes the
// fields it knows, checks each, and builds new objects.
import { h, newId } from "./dom.js";

const format = "kl-chat";
const maxBytes = 100e6;

/// Offers conversations as a download.
export function exportFile(conversations) {
  const text = JSON.stringify({ format, version: 1, exported: new Date().toISOString(), conversations }, null, 1);
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: `kl-chat-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/// The conversations of a file, with new identifiers, so that nothing kept is overwritten.
/// Throws Error with a sentence for the reader.
export async function importFile(file) {
  if (file.size > maxBytes) throw new Error(`${file.name}: expected at most ${maxBytes / 1e6} MB`);
  let data;
  try {
    data = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name}: expected JSON`);
  }
  if (data?.format !== format || data.version !== 1 || !Array.isArray(data.conversations)) {
    throw new Error(`${file.name}: expected conversations that this page exported`);
  }
  return data.conversations.map((conversation, i) => {
    try {
      return conversationFrom(conversation);
    } catch (error) {
      throw new Error(`${file.name}: conversation ${i + 1}: ${error.message}`);
    }
  });
}

function conversationFrom(value) {
  expect(isObject(value) && Array.isArray(value.nodes), "expected an object with nodes");
  const ids = new Map(); // old identifier -> new one; also proves that parents come first, so that there is no cycle
  const nodes = value.nodes.map((node) => nodeFrom(node, ids));
  expect(value.leaf === null || ids.has(value.leaf), "leaf: expected the id of a node");
  return {
    id: newId(),
    title: string(value.title, "title"),
    named: value.named === true,
    created: time(value.created),
    updated: time(value.updated),
    settings: settingsFrom(value.settings),
    nodes,
    leaf: value.leaf === null ? null : ids.get(value.leaf),
  };
}

function nodeFrom(value, ids) {
  expect(isObject(value), "expected messages to be objects");
  expect(["user", "assistant", "tool"].includes(value.role), "role: expected user, assistant or tool");
  expect(value.parent === null || ids.has(value.parent), "parent: expected an earlier message");
  const node = {
    id: newId(),
    parent: value.parent === null ? null : ids.get(value.parent),
    role: value.role,
    content: string(value.content, "content"),
    created: time(value.created),
  };
  ids.set(string(value.id, "id"), node.id);
  if (value.role === "tool") node.toolCallId = string(value.toolCallId, "toolCallId");
  if (value.role !== "assistant") return node;
  node.state = ["done", "stopped", "edited"].includes(value.state) ? value.state : "broken";
  if (value.toolCalls !== undefined) {
    node.toolCalls = list(value.toolCalls, "toolCalls").map((call) => ({
      id: string(call?.id, "id of a call"), name: string(call?.name, "name of a call"),
      arguments: string(call?.arguments, "arguments of a call"),
    }));
  }
  if (value.tokens !== undefined) node.tokens = list(value.tokens, "tokens").map(tokenFrom);
  if (isObject(value.stats)) node.stats = scalars(value.stats);
  return node;
}

function tokenFrom(value) {
  const top = list(value?.top, "top").map((pair) => [string(pair?.[0], "token"), number(pair?.[1], "logprob")]);
  return { text: string(value.text, "token"), logprob: number(value.logprob, "logprob"), top };
}

/// Settings are flat, and checked again before they are used.
function settingsFrom(value) {
  return isObject(value) ? scalars(value) : {};
}

function scalars(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value)));
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

function list(value, name) {
  expect(Array.isArray(value), `${name}: expected a list`);
  return value;
}

function string(value, name) {
  expect(typeof value === "string", `${name}: expected a text`);
  return value;
}

/// JSON has no infinity: a logprob of minus infinity is written as null.
function number(value, name) {
  expect(value === null || Number.isFinite(value), `${name}: expected a number`);
  return value ?? -Infinity;
}

function time(value) {
  return Number.isFinite(value) ? value : Date.now();
}
