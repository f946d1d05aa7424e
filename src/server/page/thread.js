// The messages of the conversation on screen, and where the reader is in them.
import { errorCard, MessageView } from "./message.js";
import { resultsForm } from "./toolcalls.js";
import { openCalls, shown, versions } from "./tree.js";

export class Thread {
  #scroller = document.getElementById("scroller");
  #list = document.getElementById("messages");
  #after = document.getElementById("after-messages"); // results wanted, errors
  #toEnd = document.getElementById("to-end");
  #views = new Map(); // node id -> MessageView
  #actions;
  #state;
  #conversation = null;
  #atEnd = true;
  #frame = 0;
  #grown = null; // the node to show in the next frame

  /// `actions`   those of MessageView, and sendResults(results), retry(), enterKey(), dismissError().
  /// `state`     answers {probabilities, running, error} of the conversation on screen.
  constructor(actions, state) {
    this.#actions = actions;
    this.#state = state;
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#toEnd.addEventListener("click", () => this.scrollToEnd());
    new ResizeObserver(() => this.#atEnd && this.scrollToEnd()).observe(this.#list.parentElement);
  }

  /// Shows a conversation as it is now.
  show(conversation) {
    if (conversation !== this.#conversation) {
      this.#conversation = conversation;
      this.#views.clear();
      this.#atEnd = true;
    }
    const path = shown(conversation);
    const views = path.map((node) => this.#viewOf(node));
    path.forEach((node, i) => views[i].update(this.#contextOf(node)));
    this.#place(views.map((view) => view.element));
    this.#showAfter(path);
    document.body.classList.toggle("empty", path.length === 0);
    if (this.#atEnd) this.scrollToEnd();
  }

  /// Shows that one message has grown, at most once per frame.
  grow(node) {
    this.#grown = node;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const view = this.#views.get(this.#grown.id);
      if (!view?.element.isConnected) return;
      view.update(this.#contextOf(this.#grown));
      if (this.#atEnd) this.scrollToEnd();
    });
  }

  scrollToEnd() {
    this.#atEnd = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#toEnd.hidden = true;
  }

  /// Moves the focus by messages, from the one that has it or from the end.
  focusNext(by) {
    const all = [...this.#list.children];
    const at = all.findIndex((element) => element.contains(document.activeElement));
    const to = all[at < 0 ? all.length - 1 : Math.min(Math.max(at + by, 0), all.length - 1)];
    to?.focus();
    to?.scrollIntoView({ block: "nearest" });
  }

  focusResults() {
    this.#after.querySelector("textarea")?.focus();
  }

  editLastOfUser() {
    const node = shown(this.#conversation).findLast((other) => other.role === "user");
    if (node) this.#views.get(node.id).edit();
  }

  #viewOf(node) {
    if (!this.#views.has(node.id)) this.#views.set(node.id, new MessageView(node, this.#actions));
    return this.#views.get(node.id);
  }

  #contextOf(node) {
    const { probabilities, running } = this.#state();
    return { versions: versions(this.#conversation, node), probabilities, idle: !running };
  }

  /// Puts elements into the list and leaves those alone that are where they belong, so that no focus is lost.
  #place(elements) {
    const current = this.#list.children;
    let same = 0;
    while (same < elements.length && current[same] === elements[same]) same++;
    while (current.length > same) this.#list.lastElementChild.remove();
    this.#list.append(...elements.slice(same));
  }

  #showAfter(path) {
    const { running, error } = this.#state();
    const calls = running ? [] : openCalls(this.#conversation);
    const key = `${path.at(-1)?.id} ${running} ${calls.length}`;
    if (this.#after.shown?.key === key && this.#after.shown.error === error) return;
    this.#after.shown = { key, error };
    this.#after.replaceChildren(
      ...(calls.length > 0 ? [resultsForm(calls, this.#actions.sendResults)] : []),
      ...(error ? [errorCard(error, { onretry: this.#actions.retry, onkey: this.#actions.enterKey, ondismiss: this.#actions.dismissError })] : []));
  }

  #onScroll() {
    const left = this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight;
    this.#atEnd = left < 40;
    this.#toEnd.hidden = this.#atEnd;
  }
}
