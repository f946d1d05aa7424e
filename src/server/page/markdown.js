// The small part of Markdown that answers use, as DOM nodes.  What is not understood stays text.
//
//   blocks  paragraphs, # headings, - and 1. lists, > quotes, ``` code, | tables |, ---
//   inline  `code`, **bold**, *italic*, ~~struck~~, [links](https://...), bare addresses   (inline.js)
//
// No HTML passes, no picture is loaded (a picture would tell its server that it was read).
// Time is linear in the text, up to the depth of lists and quotes, which is bounded.
import { copyButton, h } from "./dom.js";
import { inline } from "./inline.js";

const maxDepth = 6;
const listItem = /^( {0,9})([-*+]|\d{1,9}[.)])( +|$)/;
const fence = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const rule = /^ {0,3}([-*_])[ \t]*(\1[ \t]*){2,}$/;
const heading = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const tableRule = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/// Shows Markdown in `element`.  Called again as the text grows, it leaves alone the blocks that did not change.
export function showMarkdown(element, text) {
  const blocks = split(text.replaceAll("\r\n", "\n").split("\n"));
  const sources = blocks.map((block) => `${block.kind}\n${block.lines.join("\n")}`);
  const before = element.sources ?? [];
  let same = 0;
  while (same < sources.length && sources[same] === before[same] && element.children[same]) same++;
  while (element.children.length > same) element.lastChild.remove();
  for (const block of blocks.slice(same)) element.append(build(block, 0));
  element.sources = sources;
}

/// Cuts lines into blocks {kind, lines, info}.
function split(lines) {
  const blocks = [];
  for (let i = 0; i < lines.length; ) {
    const block = next(lines, i);
    if (block.kind !== "blank") blocks.push(block);
    i = block.end;
  }
  return blocks;
}

/// The block that begins at line i; `end` is the line after it.
function next(lines, i) {
  const line = lines[i];
  if (line.trim() === "") return { kind: "blank", end: i + 1 };
  if (fence.test(line)) return code(lines, i);
  if (heading.test(line)) return { kind: "heading", lines: [line], end: i + 1 };
  if (rule.test(line)) return { kind: "rule", lines: [line], end: i + 1 };
  if (/^ {0,3}>/.test(line)) return take(lines, i, "quote", (other) => /^ {0,3}>/.test(other));
  if (listItem.test(line)) return list(lines, i);
  if (line.includes("|") && tableRule.test(lines[i + 1] ?? "") && lines[i + 1].includes("|")) {
    return take(lines, i, "table", (other) => other.includes("|"));
  }
  return take(lines, i, "paragraph", (other, at) => at === i || !(other.trim() === "" || fence.test(other) || heading.test(other) ||
    rule.test(other) || /^ {0,3}>/.test(other) || /^ {0,3}([-*+]|1[.)]) +\S/.test(other)));
}

function take(lines, i, kind, belongs) {
  let end = i;
  while (end < lines.length && belongs(lines[end], end)) end++;
  return { kind, lines: lines.slice(i, end), end };
}

/// ``` to ```, or to the end of the text while it is still coming.
function code(lines, i) {
  const [, mark, info] = fence.exec(lines[i]);
  let end = i + 1;
  const closes = (line) => line.trim().length >= mark.length && [...line.trim()].every((c) => c === mark[0]);
  while (end < lines.length && !closes(lines[end])) end++;
  return { kind: "code", lines: [info.trim().split(/\s/, 1)[0], ...lines.slice(i + 1, end)], end: end + 1 };
}

/// All items of one list, with what is indented below them.
function list(lines, i) {
  const ordered = isOrdered(lines[i]);
  const margin = listItem.exec(lines[i])[1].length;
  let end = i + 1;
  for (; end < lines.length; end++) {
    const line = lines[end];
    const indent = line.search(/\S/);
    if (indent < 0) {
      // A blank line belongs to the list if the list goes on after it.
      const after = lines[end + 1] ?? "";
      if (after.search(/\S/) <= margin && !(listItem.test(after) && isOrdered(after) === ordered)) break;
    } else if (indent <= margin && listItem.test(line)) {
      if (isOrdered(line) !== ordered || rule.test(line)) break;
    } else if (indent <= margin && (fence.test(line) || heading.test(line) || lines[end - 1].trim() === "")) {
      break;
    }
  }
  return { kind: "list", lines: lines.slice(i, end), end };
}

function isOrdered(line) {
  return /^ *\d/.test(line);
}

// --- from blocks to nodes ---------------------------------------------------------------------------------------------

function build(block, depth) {
  switch (block.kind) {
    case "code": return codeBlock(block.lines[0], block.lines.slice(1).join("\n"));
    case "heading": {
      const [, marks, words] = heading.exec(block.lines[0]);
      // The page's own headings are h1 and h2.
      return h(`h${Math.min(marks.length + 2, 6)}`, {}, inline(words.trim()));
    }
    case "rule": return h("hr");
    case "quote": return h("blockquote", {}, nested(block.lines.map((line) => line.replace(/^ {0,3}> ?/, "")), depth));
    case "list": return listNode(block.lines, depth);
    case "table": return table(block.lines);
    default: return h("p", {}, inline(block.lines.join("\n")));
  }
}

function nested(lines, depth) {
  if (depth >= maxDepth) return [h("p", {}, lines.join("\n"))];
  return split(lines).map((block) => build(block, depth + 1));
}

function codeBlock(language, text) {
  return h("figure", { class: "code" },
    h("figcaption", {}, h("span", {}, language || "text"), copyButton(() => text, "Copy code")),
    h("pre", { tabIndex: 0 }, h("code", {}, text)));
}

function listNode(lines, depth) {
  const margin = listItem.exec(lines[0])[1].length;
  const items = [];
  let width = 0; // of the marker: what it holds is indented by so much
  for (const line of lines) {
    const match = listItem.exec(line);
    if (match && match[1].length <= margin) {
      width = match[0].length;
      items.push([line.slice(width)]);
    } else {
      items.at(-1).push(line.slice(Math.min(Math.max(line.search(/\S/), 0), width)));
    }
  }
  const children = items.map((item) => {
    const nodes = nested(item, depth);
    // A paragraph that begins an item needs no space around it.
    return h("li", {}, nodes[0]?.tagName === "P" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes);
  });
  if (!isOrdered(lines[0])) return h("ul", {}, children);
  return h("ol", { start: Number.parseInt(lines[0], 10) }, children);
}

function table(lines) {
  const rows = lines.filter((_, i) => i !== 1).map(cells);
  const width = rows[0].length;
  const row = (tag, texts) => h("tr", {}, Array.from({ length: width }, (_, i) => h(tag, {}, inline(texts[i] ?? ""))));
  return h("div", { class: "table", tabIndex: 0 },
    h("table", {}, h("thead", {}, row("th", rows[0])), h("tbody", {}, rows.slice(1).map((texts) => row("td", texts)))));
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}
