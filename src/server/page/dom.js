// Building and copying: the few things every part of the page does with the DOM.
//
// All text enters as text nodes.  The page never assigns innerHTML, and the server's Trusted Types policy makes the
// browser refuse if it did.

const svg = "http://www.w3.org/2000/svg";

/// An element.  `props`: "class", "dataset", "on<event>" handlers; a name that the element knows as a property is set as
/// one, everything else as an attribute; null and undefined are left out.  Children: nodes, strings, lists of them, null.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  // One by one: a call takes no more arguments than fit the stack.
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

/// One of the drawings in index.html's sprite; decoration only, so screen readers pass over it.
export function icon(name) {
  const element = document.createElementNS(svg, "svg");
  element.setAttribute("class", "icon");
  element.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(svg, "use");
  use.setAttribute("href", `#i-${name}`);
  element.append(use);
  return element;
}

/// A button that shows an icon and says `label` to those who do not see it.
export function iconButton(name, label, onclick, props = {}) {
  return h("button", { type: "button", class: "icon-button", title: label, "aria-label": label, onclick, ...props }, icon(name));
}

/// A button that copies what `text()` answers, and says that it did.
export function copyButton(text, label = "Copy") {
  const button = iconButton("copy", label, async () => {
    const done = await copy(text());
    button.replaceChildren(icon(done ? "check" : "cross"));
    announce(done ? "Copied" : "Copying failed");
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  }, { dataset: { action: "copy" } });
  return button;
}

/// Puts text on the clipboard.  navigator.clipboard exists on https and localhost only; a page that is read over plain
/// http from another machine needs the old way.
async function copy(text) {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Refused: try the old way.
  }
  const before = document.activeElement;
  const area = h("textarea", { class: "visually-hidden", value: text });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  return done;
}

/// Says something to screen readers, after what they are saying now.
export function announce(text) {
  const log = document.getElementById("announcements");
  log.append(h("p", {}, text));
  while (log.childElementCount > 20) log.firstElementChild.remove();
}

/// Reads a growing answer to screen readers, sentence by sentence instead of token by token.
export class Narrator {
  #said = 0;

  /// `text` is all there is so far; `over`: nothing more comes.
  update(text, over) {
    const rest = text.slice(this.#said);
    const end = over ? rest.length : Math.max(rest.lastIndexOf(". "), rest.lastIndexOf("? "), rest.lastIndexOf("! "), rest.lastIndexOf("\n"));
    if (end < (over ? 1 : 40)) return;
    announce(rest.slice(0, end + 1).trim());
    this.#said += end + 1;
  }
}

/// Lets a text field be as high as its text; the style sheet limits it.
export function growWithText(area) {
  const grow = () => {
    area.style.height = "auto";
    // What is hidden has no height; its rows do until it is shown.
    if (area.offsetHeight > 0) area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
  };
  area.addEventListener("input", grow);
  return grow;
}

/// 1234567 -> "1,234,567", in the reader's manner.
export function count(number) {
  return number.toLocaleString();
}

/// An identifier nobody else has.  (crypto.randomUUID needs https.)
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
