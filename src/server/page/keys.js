// Keyboard shortcuts: one table, which also fills the list of shortcuts.
import { h } from "./dom.js";

const isMac = navigator.platform.startsWith("Mac");

/// What a message or a list does by itself, for the list of shortcuts only.
const local = [
  [["Enter"], "Send; Shift+Enter begins a new line"],
  [["↑"], "In an empty message box: edit your last message"],
  [["E", "R", "C"], "On a message: edit, regenerate, copy"],
  [["←", "→"], "On a message: its other versions. On a token: its neighbours"],
  [["F2", "Delete"], "On a conversation: rename, delete"],
];

/// Listens for shortcuts.  `actions` has a function for every name below.
export function listenForKeys(actions) {
  const shortcuts = [
    { keys: ["Mod", "Shift", "O"], label: "New conversation", run: actions.newConversation },
    { keys: ["Mod", "B"], label: "List of conversations", run: actions.toggleSidebar },
    { keys: ["Mod", ","], label: "Settings", run: actions.toggleSettings },
    { keys: ["Alt", "P"], label: "Token probabilities", run: actions.toggleProbabilities },
    { keys: ["Alt", "↑"], label: "Previous message", run: () => actions.focusMessage(-1) },
    { keys: ["Alt", "↓"], label: "Next message", run: () => actions.focusMessage(1) },
    { keys: ["/"], label: "Message box", run: actions.focusComposer, plain: true },
    { keys: ["?"], label: "This list", run: actions.showShortcuts, plain: true },
    { keys: ["Escape"], label: "Stop the answer; close what is open", run: actions.escape },
  ];
  document.addEventListener("keydown", (event) => {
    const shortcut = shortcuts.find((candidate) => matches(candidate, event));
    if (!shortcut || event.defaultPrevented) return;
    event.preventDefault();
    shortcut.run();
  });
  const rows = [...shortcuts.map(({ keys, label }) => [keys, label]), ...local];
  document.getElementById("shortcut-list").append(...rows.flatMap(([keys, label]) => [
    h("dt", {}, ...keys.map((key) => h("kbd", {}, key === "Mod" ? (isMac ? "⌘" : "Ctrl") : key))), h("dd", {}, label)]));
}

function matches({ keys, plain }, event) {
  // Keys without a modifier are letters where somebody types.
  if (plain && (event.target.closest("input, textarea, select, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey)) return false;
  const key = keys.at(-1);
  if (plain) return event.key === key;
  const pressed = { "↑": "ArrowUp", "↓": "ArrowDown" }[key] ?? key;
  // On a Mac, Alt with a letter types another letter: the place of the key says which it is.
  const same = event.key.toLowerCase() === pressed.toLowerCase() || event.code === `Key${pressed}`;
  const mod = isMac ? event.metaKey : event.ctrlKey;
  return same && mod === keys.includes("Mod") && event.altKey === keys.includes("Alt") &&
    (key === "Escape" || event.shiftKey === keys.includes("Shift"));
}
