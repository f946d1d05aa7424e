// One message as the reader sees it, with what can be done to it.
import { copyButton, count, growWithText, h, icon, iconButton } from "./dom.js";
import { showMarkdown } from "./markdown.js";
import { showTokens } from "./tokens.js";
import { toolCard } from "./toolcalls.js";

const names = { user: "You", assistant: "Model", tool: "Tool result" };
const endings = { stopped: "stopped", broken: "broken off", edited: "edited" };
// Why not more of a prompt came from the cache: in a word or two, and as a sentence.
const missReasons = {
  cold: ["new", "Nothing that begins like this prompt was read before, or it is forgotten."],
  diverged: ["then changed", "From there on the prompt differs from what was read before."],
  not_kept: ["rest not kept", "All of it was read before; states are kept at the ends of messages and here and there between."],
  evicted: ["rest evicted", "What was kept of the rest made room for other conversations."],
  scored: ["rest scored", "Scored tokens are computed again."],
  not_asked: ["cache off", "The request asked not to use the cache."],
};

/// Shows `node` and keeps showing it as it changes.
///
/// `actions`   edit(node, text), regenerate(node), show(node): what the buttons do.
export class MessageView {
  #node;
  #actions;
  #body = h("div", { class: "body" });
  #tools = h("div", { class: "tools" });
  #footer = h("footer");
  #editor = null;
  #shape = ""; // what the body shows at present

  constructor(node, actions) {
    this.#node = node;
    this.#actions = actions;
    this.element = h("article", { class: `message ${node.role}`, tabIndex: -1, dataset: { id: node.id }, "aria-label": names[node.role] },
      h("h2", { class: "visually-hidden" }, names[node.role]), this.#body, this.#tools, this.#footer);
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
  }

  get editing() {
    return this.#editor !== null;
  }

  /// Shows the node as it is now.  `versions` are the node and its siblings, `idle` is false while any answer of the
  /// conversation is coming in.
  update({ versions, probabilities, idle }) {
    const streaming = this.#node.state === "streaming";
    this.element.classList.toggle("streaming", streaming);
    this.element.setAttribute("aria-busy", streaming);
    this.#showBody(probabilities);
    this.#showTools();
    if (!streaming) this.#showFooter(versions, idle);
  }

  edit() {
    if (this.#editor) return;
    const area = h("textarea", { value: this.#node.content, rows: 2, "aria-label": `Edit: ${names[this.#node.role]}` });
    const form = h("form", { class: "editor" }, area,
      h("p", { class: "hint" }, this.#node.role === "assistant" ? "Saved as a new version; the conversation goes on from it."
        : "Sent as a new version; the old one stays."),
      h("div", { class: "row" }, h("button", { type: "button", onclick: () => this.#closeEditor() }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, this.#node.role === "assistant" ? "Save" : "Send")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#closeEditor();
      this.#actions.edit(this.#node, area.value);
    });
    form.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.#closeEditor();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    this.#editor = form;
    this.element.classList.add("editing");
    this.element.append(form);
    growWithText(area)();
    area.focus();
  }

  #closeEditor() {
    this.#editor.remove();
    this.#editor = null;
    this.element.classList.remove("editing");
    this.element.focus();
  }

  #showBody(probabilities) {
    const node = this.#node;
    const shape = node.role !== "assistant" ? "plain" : probabilities && node.tokens?.length ? "tokens" : "markdown";
    if (shape !== this.#shape) {
      this.#shape = shape;
      const body = h("div", { class: `body ${shape}` });
      this.#body.replaceWith(body);
      this.#body = body;
    }
    if (shape === "tokens") showTokens(this.#body, node.tokens);
    else if (shape === "markdown") showMarkdown(this.#body, node.content);
    else if (this.#body.textContent !== node.content) this.#body.textContent = node.content;
  }

  #showTools() {
    const calls = this.#node.toolCalls ?? [];
    const key = JSON.stringify(calls);
    if (this.#tools.dataset.calls === key) return;
    this.#tools.dataset.calls = key;
    this.#tools.replaceChildren(...calls.map(toolCard));
  }

  #showFooter(versions, idle) {
    const node = this.#node;
    const label = node.role === "assistant" ? "Regenerate" : "Answer again";
    const focused = this.#footer.contains(document.activeElement) ? document.activeElement.dataset.action : null;
    this.#footer.replaceChildren(
      ...(versions.length > 1 ? [this.#versionSwitch(versions, idle)] : []),
      h("span", { class: "actions" },
        copyButton(() => node.content),
        iconButton("edit", "Edit", () => this.edit(), { disabled: !idle, dataset: { action: "edit" } }),
        iconButton("again", label, () => this.#actions.regenerate(node), { disabled: !idle, dataset: { action: "regenerate" } })),
      ...(node.role === "assistant" ? [statsLine(node)] : []));
    if (focused) this.#footer.querySelector(`[data-action="${focused}"]`)?.focus();
  }

  #versionSwitch(versions, idle) {
    const at = versions.indexOf(this.#node);
    const step = (by, name, label) => iconButton(name, label, () => this.#actions.show(versions[at + by]),
      { disabled: !idle || !versions[at + by], dataset: { action: name } });
    return h("span", { class: "versions" }, step(-1, "left", "Previous version"),
      h("span", { "aria-label": `Version ${at + 1} of ${versions.length}` }, `${at + 1}/${versions.length}`),
      step(1, "right", "Next version"));
  }

  /// Keys of a message that has the focus itself, not something in it.
  #onKey(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = { e: "edit", r: "regenerate", c: "copy", ArrowLeft: "left", ArrowRight: "right" }[event.key];
    const button = action && this.#footer.querySelector(`[data-action="${action}"]`);
    if (!button) return;
    event.preventDefault();
    button.click();
  }
}

/// "38.2 tokens/s · first token 0.21 s · ..."
function statsLine(node) {
  const stats = node.stats ?? {};
  const parts = [];
  if (endings[node.state]) parts.push(h("span", { class: "ending" }, endings[node.state]));
  if (stats.finish === "length") parts.push(h("span", { class: "ending" }, "cut at max tokens"));
  if (stats.tokens !== undefined) parts.push(h("span", {}, `${count(stats.tokens)} tokens`));
  if (stats.tokensPerSecond !== undefined) parts.push(h("span", {}, `${stats.tokensPerSecond.toFixed(1)} tokens/s`));
  if (stats.firstTokenMs !== undefined) parts.push(h("span", {}, `first token ${seconds(stats.firstTokenMs)}`));
  if (stats.promptTokens !== undefined) parts.push(promptLine(stats));
  return h("span", { class: "stats" }, ...parts);
}

function promptLine({ promptTokens, cachedTokens, missReason }) {
  if (cachedTokens === undefined) return h("span", {}, `prompt ${count(promptTokens)}`);
  const [reason, sentence] = missReasons[missReason] ?? [];
  return h("span", { class: "cached", title: sentence }, `prompt: ${count(cachedTokens)} of ${count(promptTokens)} cached`,
    reason ? h("span", { class: "reason" }, `, ${reason}`) : null);
}

function seconds(ms) {
  return ms < 9950 ? `${(ms / 1000).toFixed(2)} s` : `${(ms / 1000).toFixed(0)} s`;
}

/// The card below a conversation whose last request failed.  `onretry`, `onkey` and `ondismiss` are what its buttons do.
/// Where the server said when to come back, it counts down and then retries by itself.
export function errorCard(error, { onretry, onkey, ondismiss }) {
  const titles = { key: "The server asks for an API key", busy: "The server is busy", lost: "Connection lost", refused: "The server refused the request" };
  const retry = h("button", { type: "button", class: "primary", onclick: onretry }, "Retry");
  const card = h("section", { class: `error ${error.kind}`, role: "alert" }, icon("alert"),
    h("div", {}, h("strong", {}, titles[error.kind] ?? "Something went wrong"), h("p", {}, error.message),
      error.param ? h("p", { class: "hint" }, "Field: ", h("code", {}, error.param)) : null),
    h("div", { class: "row" }, error.kind === "key" ? h("button", { type: "button", class: "primary", onclick: onkey }, "Enter key") : null,
      retry, iconButton("cross", "Dismiss", ondismiss)));
  if (error.kind === "busy" && error.retryAfter > 0) countDown(card, retry, error.retryAfter, onretry);
  return card;
}

function countDown(card, button, wait, onretry) {
  const end = performance.now() + 1000 * wait;
  const timer = setInterval(tick, 250);
  function tick() {
    const left = Math.ceil((end - performance.now()) / 1000);
    if (!card.isConnected && left < wait) clearInterval(timer);
    else if (left > 0) button.textContent = `Retry in ${left} s`;
    else {
      clearInterval(timer);
      onretry();
    }
  }
  tick();
}
