// The list of conversations: new, choose, rename, delete.
import { h, iconButton } from "./dom.js";

const day = 86400000;

export class Sidebar {
  #list = document.getElementById("conversations");
  #actions;
  #renaming = null; // id

  /// `actions`   rename(conversation, title), remove(conversation).
  constructor(actions) {
    this.#actions = actions;
  }

  /// Shows all conversations, those changed last first.
  show(conversations, currentId, runningIds) {
    if (this.#renaming !== null) return;
    const focused = document.activeElement?.closest?.("#conversations [data-id]")?.dataset.id;
    const sorted = [...conversations].sort((a, b) => b.updated - a.updated);
    const nodes = [];
    let group = null;
    for (const conversation of sorted) {
      if (ageOf(conversation) !== group) {
        group = ageOf(conversation);
        nodes.push(h("li", { class: "group" }, h("h2", {}, group)));
      }
      nodes.push(this.#row(conversation, conversation.id === currentId, runningIds.has(conversation.id)));
    }
    this.#list.replaceChildren(...nodes);
    if (focused) this.#list.querySelector(`[data-id="${focused}"] a`)?.focus();
  }

  #row(conversation, current, running) {
    const title = conversation.title || "New conversation";
    const link = h("a", { href: `#${conversation.id}`, title, "aria-current": current ? "page" : null }, title);
    const row = h("li", { class: "conversation", dataset: { id: conversation.id } }, link,
      running ? h("span", { class: "running", role: "img", "aria-label": "answering" }) : null,
      iconButton("edit", `Rename “${title}”`, () => this.#rename(row, conversation)),
      iconButton("trash", `Delete “${title}”`, () => this.#actions.remove(conversation)));
    link.addEventListener("keydown", (event) => {
      if (event.key === "F2") this.#rename(row, conversation);
      else if (event.key === "Delete") this.#actions.remove(conversation);
      else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.#move(row, event);
    });
    return row;
  }

  #move(row, event) {
    const rows = [...this.#list.querySelectorAll(".conversation")];
    const to = rows[rows.indexOf(row) + (event.key === "ArrowDown" ? 1 : -1)];
    if (!to) return;
    event.preventDefault();
    to.querySelector("a").focus();
  }

  #rename(row, conversation) {
    this.#renaming = conversation.id;
    const input = h("input", { type: "text", value: conversation.title, maxLength: 200, "aria-label": "Name of the conversation" });
    const close = (keep) => {
      if (this.#renaming === null) return;
      this.#renaming = null;
      this.#actions.rename(conversation, keep ? input.value.trim() || conversation.title : conversation.title);
      this.#list.querySelector(`[data-id="${conversation.id}"] a`)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") close(true);
      if (event.key === "Escape") close(false);
    });
    input.addEventListener("blur", () => close(true));
    row.replaceChildren(input);
    input.focus();
    input.select();
  }
}

function ageOf({ updated }) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (updated >= midnight) return "Today";
  if (updated >= midnight - day) return "Yesterday";
  if (updated >= midnight - 7 * day) return "Last seven days";
  return "Older";
}
