// A conversation is a tree: editing or regenerating a message adds a branch and never loses one.
//
// conversation {id, title, named, created, updated, settings, nodes, leaf}
//   nodes      in order of creation, a parent before its children
//   leaf       id of the last message shown; it and its ancestors are the conversation as it stands
// node {id, parent, role: "user" | "assistant" | "tool", content, created, ...}
//   toolCalls  assistant: [{id, name, arguments}], arguments as the text the model wrote
//   toolCallId tool: the call it answers
//   tokens     assistant, if asked for: [{text, logprob, top: [[text, logprob], ...]}]
//   stats      assistant: see generate.js
//   state      assistant: "streaming", "done", "stopped" (by the user), "broken" (connection lost) or "edited"
//
// All functions are pure, or change the conversation given and nothing else.
import { newId } from "./dom.js";

export function newConversation(settings) {
  const now = Date.now();
  return { id: newId(), title: "", named: false, created: now, updated: now, settings: structuredClone(settings), nodes: [], leaf: null };
}

/// Appends a message below `parent`, by default the last one shown, and shows it.
export function addNode(conversation, fields, parent = conversation.leaf) {
  const node = { id: newId(), parent, created: Date.now(), ...fields };
  conversation.nodes.push(node);
  conversation.leaf = node.id;
  conversation.updated = node.created;
  if (!conversation.named && conversation.title === "" && node.role === "user") conversation.title = titleOf(node.content);
  return node;
}

/// Takes a message out that has no children.
export function removeLeaf(conversation, node) {
  conversation.nodes = conversation.nodes.filter((other) => other !== node);
  if (conversation.leaf === node.id) conversation.leaf = node.parent;
}

/// The messages shown, the first one first.
export function shown(conversation) {
  const byId = new Map(conversation.nodes.map((node) => [node.id, node]));
  const path = [];
  for (let node = byId.get(conversation.leaf); node; node = byId.get(node.parent)) path.push(node);
  return path.reverse();
}

/// A message and the other versions of it, the oldest first.
export function versions(conversation, node) {
  return conversation.nodes.filter((other) => other.parent === node.parent);
}

/// Shows another version of a message, with what was said after it last.
export function show(conversation, node) {
  let leaf = node;
  // Children come after their parents, so one look at each suffices.
  for (const other of conversation.nodes) {
    if (other.parent === leaf.id) leaf = latestChild(conversation, leaf);
  }
  conversation.leaf = leaf.id;
}

function latestChild(conversation, node) {
  return conversation.nodes.findLast((other) => other.parent === node.id);
}

/// The calls of the last message that nobody has answered.
export function openCalls(conversation) {
  const path = shown(conversation);
  const at = path.findLastIndex((node) => node.role === "assistant");
  if (at < 0 || path.slice(at + 1).some((node) => node.role !== "tool")) return [];
  const answered = new Set(path.slice(at + 1).map((node) => node.toolCallId));
  return (path[at].toolCalls ?? []).filter((call) => !answered.has(call.id));
}

/// The messages shown in the API's form, up to and with `last`.
export function toMessages(conversation, last) {
  const path = shown(conversation);
  const messages = path.slice(0, path.indexOf(last) + 1).map((node) => {
    if (node.role === "tool") return { role: "tool", tool_call_id: node.toolCallId, content: node.content };
    if (!node.toolCalls?.length) return { role: node.role, content: node.content };
    const calls = node.toolCalls.map((call) => ({
      id: call.id, type: "function", function: { name: call.name, arguments: call.arguments },
    }));
    return { role: "assistant", content: node.content || null, tool_calls: calls };
  });
  const system = conversation.settings.system;
  return system?.trim() ? [{ role: "system", content: system }, ...messages] : messages;
}

function titleOf(text) {
  const line = text.trim().split("\n", 1)[0];
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
}
