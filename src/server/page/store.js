// Where conversations stay: this browser's IndexedDB, and nowhere else.
//
// The page holds all conversations in memory and writes them through.  Other tabs hear of every write and read it again.

const name = "kl-chat";
const table = "conversations";

export class Store {
  #database = null; // null where the browser keeps nothing (some private windows)
  #channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(name) : null;
  #timers = new Map(); // id -> timer of a write that waits
  #waiting = new Map(); // id -> conversation it will write
  #onFailure = () => {};

  conversations = new Map(); // id -> conversation

  /// Reads everything.  `onOtherTab(id)` is called when another tab has changed a conversation, after it was read again;
  /// one for which `isBusy(id)` is left as it is here.  `onFailure()` is called when a write fails.
  /// Answers whether conversations will outlive the page.
  async open({ isBusy, onOtherTab, onFailure }) {
    this.#onFailure = onFailure;
    try {
      this.#database = await promised(open());
      for (const conversation of await promised(this.#rows("readonly").getAll())) {
        this.conversations.set(conversation.id, settled(conversation));
      }
    } catch {
      return false;
    }
    this.#channel?.addEventListener("message", async ({ data: id }) => {
      if (isBusy(id) || this.#waiting.has(id)) return;
      const conversation = await promised(this.#rows("readonly").get(id)).catch(() => undefined);
      if (conversation) this.conversations.set(id, conversation);
      else this.conversations.delete(id);
      onOtherTab(id);
    });
    addEventListener("pagehide", () => this.flush());
    return true;
  }

  /// Writes a conversation within a second; many changes in a row are one write.
  save(conversation) {
    this.conversations.set(conversation.id, conversation);
    this.#waiting.set(conversation.id, conversation);
    if (!this.#timers.has(conversation.id)) {
      this.#timers.set(conversation.id, setTimeout(() => this.#write(conversation.id), 700));
    }
  }

  /// Writes what waits, now.
  flush() {
    for (const id of [...this.#timers.keys()]) this.#write(id);
  }

  remove(id) {
    this.conversations.delete(id);
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.#waiting.delete(id);
    this.#change((rows) => rows.delete(id), id);
  }

  #write(id) {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    const conversation = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (conversation) this.#change((rows) => rows.put(conversation), id);
  }

  #change(action, id) {
    if (!this.#database) return;
    const rows = this.#rows("readwrite");
    action(rows);
    rows.transaction.oncomplete = () => this.#channel?.postMessage(id);
    rows.transaction.onabort = this.#onFailure;
  }

  #rows(mode) {
    return this.#database.transaction(table, mode).objectStore(table);
  }
}

function open() {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(table, { keyPath: "id" });
  return request;
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/// A conversation as it is when nothing runs: an answer that was coming in when the page closed is broken off.
function settled(conversation) {
  for (const node of conversation.nodes) {
    if (node.state === "streaming") node.state = "broken";
  }
  return conversation;
}

// --- small things, in localStorage ------------------------------------------------------------------------------------

/// A preference under `key`, as JSON; `fallback` where none is kept or it cannot be read.
export function preference(key, fallback) {
  try {
    return JSON.parse(localStorage.getItem(`kl-${key}`)) ?? fallback;
  } catch {
    return fallback;
  }
}

export function setPreference(key, value) {
  try {
    localStorage.setItem(`kl-${key}`, JSON.stringify(value));
  } catch {
    // Full or forbidden: the preference lasts as long as the page.
  }
}
