// Inline Markdown as DOM nodes: one pass over the text, with a stack of open marks.
import { h } from "./dom.js";

const tags = { "**": "strong", "__": "strong", "*": "em", "_": "em", "~~": "del" };
const special = /(`+)|(\*\*|__|~~|\*|_)|\[|(https?:\/\/[^\s<>"'`]+)|\\([\\`*_~[\]()#>|.!+-])|\n/g;
const maxLink = 2000; // characters of a link's text and address

/// The nodes of one paragraph.
export function inline(text) {
  // What is open: {mark, nodes}.  The bottom has no mark and collects the result.
  const stack = [{ mark: null, nodes: [] }];
  const add = (node) => push(stack.at(-1).nodes, node);
  const backticks = new Map(); // length of a run of backticks -> where the last one of this length begins
  for (const { 0: run, index } of text.matchAll(/`+/g)) backticks.set(run.length, index);

  let at = 0;
  special.lastIndex = 0;
  for (let match; (match = special.exec(text)); ) {
    if (match.index > at) add(text.slice(at, match.index));
    at = special.lastIndex;
    const [whole, ticks, mark, address, escaped] = match;
    if (ticks) {
      const end = backticks.get(ticks.length) > match.index ? closing(text, ticks, at) : -1;
      if (end < 0) add(ticks);
      else add(h("code", {}, unpadded(text.slice(at, end))));
      at = end < 0 ? at : end + ticks.length;
    } else if (mark) {
      applyMark(stack, mark, text[match.index - 1] ?? " ", text[at] ?? " ");
    } else if (address) {
      let end = address.length;
      while (".,;:!?)]}*_~".includes(address[end - 1])) end--; // more likely the sentence's than the address's
      const trimmed = address.slice(0, end);
      add(link(trimmed, [trimmed]));
      at = match.index + trimmed.length;
    } else if (escaped) {
      add(escaped);
    } else if (whole === "\n") {
      add(/ {2}$/.test(text.slice(Math.max(0, match.index - 2), match.index)) ? h("br") : "\n");
    } else {
      at = addLink(text, match.index, add);
    }
    special.lastIndex = at;
  }
  add(text.slice(at));
  // Marks that nothing closed were no marks.
  while (stack.length > 1) unwind(stack);
  return stack[0].nodes;
}

/// Appends a node, or a text to the text before it.
function push(nodes, node) {
  if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += node;
  else nodes.push(node);
}

/// Takes the last mark for the characters it is made of.
function unwind(stack) {
  const { mark, nodes } = stack.pop();
  push(stack.at(-1).nodes, mark);
  for (const node of nodes) push(stack.at(-1).nodes, node);
}

/// Opens or closes emphasis.  A mark opens before a word and closes after one; _ in the middle of a word is a letter.
function applyMark(stack, mark, before, after) {
  const inWord = mark[0] === "_" && /[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after);
  const open = stack.findLastIndex((entry) => entry.mark === mark);
  if (!inWord && open > 0 && !/\s/.test(before)) {
    while (stack.length - 1 > open) unwind(stack);
    const { nodes } = stack.pop();
    push(stack.at(-1).nodes, h(tags[mark], {}, nodes));
  } else if (!inWord && open < 0 && !/\s/.test(after)) {
    stack.push({ mark, nodes: [] }); // each mark is open at most once, so the stack stays small
  } else {
    push(stack.at(-1).nodes, mark);
  }
}

/// Where the run of backticks that closes this one begins, or -1.
function closing(text, ticks, from) {
  for (let at = text.indexOf(ticks, from); at >= 0; ) {
    let end = at;
    while (text[end] === "`") end++;
    if (end - at === ticks.length) return at;
    at = text.indexOf(ticks, end);
  }
  return -1;
}

function unpadded(code) {
  return code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "" ? code.slice(1, -1) : code;
}

/// [words](address) at `start`; adds the bracket alone if it is none.  Answers where to go on.
function addLink(text, start, add) {
  const match = /^\[([^[\]\n]*)\]\(\s*<?([^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*)>?(?:\s+"[^"]*")?\s*\)/.exec(text.slice(start, start + maxLink));
  if (!match) {
    add("[");
    return start + 1;
  }
  const [whole, words, address] = match;
  add(isWeb(address) ? link(address, [words || address]) : whole);
  return start + whole.length;
}

/// http and https only: no javascript:, no data:, nothing relative to this page.
export function isWeb(address) {
  try {
    return /^https?:\/\//i.test(address) && ["http:", "https:"].includes(new URL(address).protocol);
  } catch {
    return false;
  }
}

function link(address, words) {
  if (!isWeb(address)) return address;
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow", title: address }, ...words);
}
