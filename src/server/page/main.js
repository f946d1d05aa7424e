// The page as a whole: which conversation is on screen, what runs, and what every button leads to.
import { apiKey, health, models, props } from "./api.js";
import { announce, growWithText, h, icon, Narrator } from "./dom.js";
import { generate } from "./generate.js";
import { listenForKeys } from "./keys.js";
import { SettingsPanel } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { preference, setPreference, Store } from "./store.js";
import { Thread } from "./thread.js";
import { exportFile, importFile } from "./transfer.js";
import { addNode, newConversation, openCalls, show, shown } from "./tree.js";

const $ = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 800px)");
const touch = matchMedia("(hover: none) and (pointer: coarse)");

const store = new Store();
const running = new Map(); // conversation id -> AbortController of the answer that is coming in
const errors = new Map(); // conversation id -> {error, after}: what failed, and the message it should have answered
let current = newConversation(preference("settings", {}));
let probabilities = preference("probabilities", false);
let model = "";

const thread = new Thread({ edit, show: showVersion, regenerate, sendResults, retry, enterKey, dismissError }, threadState);
const sidebar = new Sidebar({ rename, remove });
const settings = new SettingsPanel(() => {
  setPreference("settings", current.settings); // what the next conversation begins with
  if (current.nodes.length > 0) store.save(current);
});

// --- showing ----------------------------------------------------------------------------------------------------------

function threadState() {
  return { probabilities, running: running.has(current.id), error: errors.get(current.id)?.error };
}

function render() {
  thread.show(current);
  renderSidebar();
  const busy = running.has(current.id);
  $("send").hidden = busy;
  $("stop").hidden = !busy;
  $("title").textContent = current.title || "New conversation";
  document.title = current.title ? `${current.title} · kl` : "kl";
}

function renderSidebar() {
  sidebar.show(store.conversations.values(), current.id, running);
}

function openConversation(conversation) {
  current = conversation;
  settings.show(current.settings);
  render();
  if (narrow.matches) toggle("sidebar", false);
}

/// The address names the conversation, so that links, history and reloading work.
function openFromAddress() {
  const found = store.conversations.get(location.hash.slice(1));
  openConversation(found ?? newConversation(preference("settings", {})));
}

function startConversation() {
  if (location.hash.length > 1) location.hash = ""; // openFromAddress does the rest
  else openConversation(newConversation(preference("settings", {})));
  $("message").focus();
}

// --- asking and answering ---------------------------------------------------------------------------------------------

function submit() {
  const text = $("message").value;
  if (text.trim() === "" || running.has(current.id)) return;
  if (openCalls(current).length > 0) {
    announce("The tool calls want results first.");
    thread.focusResults();
    return;
  }
  if (settings.focusProblem(() => toggle("settings", true))) return;
  $("message").value = "";
  growComposer();
  ask(addNode(current, { role: "user", content: text }));
}

/// Has the message `after` answered, and shows the answer as it comes.
async function ask(after) {
  const conversation = current;
  if (running.has(conversation.id)) return;
  const controller = new AbortController();
  running.set(conversation.id, controller);
  errors.delete(conversation.id);
  store.save(conversation);
  if (location.hash !== `#${conversation.id}`) history.pushState(null, "", `#${conversation.id}`);
  thread.scrollToEnd();
  const narrator = new Narrator();
  const keep = () => store.conversations.has(conversation.id) && store.save(conversation); // it may be deleted meanwhile
  const onchange = (node) => {
    if (node.content === "" && !node.toolCalls) render();
    else if (current === conversation) thread.grow(node);
    narrator.update(node.content, false);
    keep();
  };
  const progress = showProgress(conversation);
  try {
    const node = await generate(conversation, after, { model, probabilities, signal: controller.signal, onchange });
    narrator.update(node.content, true);
    announce(node.state === "stopped" ? "Answer stopped." : "Answer complete.");
  } catch (error) {
    errors.set(conversation.id, { error, after });
    if (error.kind === "lost") checkHealth();
  } finally {
    progress.stop();
    running.delete(conversation.id);
    keep();
    render();
  }
}

/// The line below the message box while an answer comes in.
function showProgress(conversation) {
  const hint = $("composer-hint");
  const start = performance.now();
  const timer = setInterval(() => {
    const node = shown(conversation).at(-1);
    const reading = node?.state !== "streaming" || (node.content === "" && !node.toolCalls);
    hint.textContent = `${reading ? "Reading the prompt" : "Answering"} · ${((performance.now() - start) / 1000).toFixed(0)} s · Escape stops`;
  }, 500);
  return {
    stop() {
      clearInterval(timer);
      showHint();
    },
  };
}

function showHint() {
  $("composer-hint").textContent = touch.matches ? "" : "Enter sends, Shift+Enter begins a new line";
}

function stop() {
  running.get(current.id)?.abort();
  if (document.activeElement === $("stop")) $("message").focus(); // the button is about to go
}

function edit(node, text) {
  if (running.has(current.id)) return;
  const fields = { role: node.role, content: text };
  if (node.role === "tool") fields.toolCallId = node.toolCallId;
  if (node.role === "assistant") Object.assign(fields, { state: "edited", toolCalls: node.toolCalls });
  const version = addNode(current, fields, node.parent);
  store.save(current);
  if (node.role === "assistant" || openCalls(current).length > 0) render();
  else ask(version);
}

/// A new version of an answer, or a new answer to what was asked.
function regenerate(node) {
  if (running.has(current.id)) return;
  const after = node.role === "assistant" ? current.nodes.find((other) => other.id === node.parent) : node;
  current.leaf = after.id;
  if (openCalls(current).length > 0) render();
  else ask(after);
}

function showVersion(node) {
  show(current, node);
  errors.delete(current.id);
  store.save(current);
  render();
}

function sendResults(results) {
  let last = null;
  for (const { id, content } of results) last = addNode(current, { role: "tool", toolCallId: id, content });
  ask(last);
  $("message").focus(); // the form has gone
}

function retry() {
  const failed = errors.get(current.id);
  if (!failed) return;
  current.leaf = failed.after.id;
  ask(failed.after);
}

function dismissError() {
  errors.delete(current.id);
  render();
  $("message").focus();
}

function enterKey() {
  toggle("settings", true);
  $("api-key").focus();
}

// --- the list ---------------------------------------------------------------------------------------------------------

function rename(conversation, title) {
  if (title !== conversation.title) {
    Object.assign(conversation, { title, named: true });
    store.save(conversation);
  }
  render();
}

function remove(conversation) {
  running.get(conversation.id)?.abort();
  store.remove(conversation.id);
  if (conversation === current) startConversation();
  renderSidebar();
  toast(`Deleted “${conversation.title}”.`, "Undo", () => {
    store.save(conversation);
    location.hash = conversation.id;
    renderSidebar();
  });
}

async function importChosen(event) {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  try {
    const conversations = await importFile(file);
    conversations.forEach((conversation) => store.save(conversation));
    toast(`Imported ${conversations.length === 1 ? "one conversation" : `${conversations.length} conversations`}.`);
    renderSidebar();
  } catch (error) {
    toast(error.message);
  }
}

let toastTimer = 0;
function toast(text, label, action) {
  const close = () => $("toast").replaceChildren();
  $("toast").replaceChildren(h("span", {}, text),
    ...(label ? [h("button", { type: "button", onclick: () => (close(), action()) }, label)] : []));
  clearTimeout(toastTimer);
  toastTimer = setTimeout(close, 10000);
}

// --- panels, theme, switches ------------------------------------------------------------------------------------------

/// Opens or closes the list ("sidebar") or the settings.  On a narrow screen both lie over the conversation, which then
/// takes no focus; the choice is remembered on a wide one.
function toggle(panel, open = $(panel).hidden) {
  const other = panel === "sidebar" ? "settings" : "sidebar";
  if (open && narrow.matches) $(other).hidden = true;
  const hadFocus = $(panel).contains(document.activeElement);
  $(panel).hidden = !open;
  const covered = narrow.matches && (!$("sidebar").hidden || !$("settings").hidden);
  $("conversation").inert = covered;
  $("backdrop").hidden = !covered;
  for (const name of ["sidebar", "settings"]) $(`toggle-${name}`).setAttribute("aria-expanded", !$(name).hidden);
  if (!narrow.matches) setPreference(`${panel}-open`, open);
  if (open && panel === "settings") settings.show(current.settings); // fields are as high as their texts only once shown
  if (open && narrow.matches) $(panel).querySelector("button, a, input")?.focus();
  if (!open && hadFocus) $(`toggle-${panel}`).focus();
}

function layOut() {
  toggle("sidebar", !narrow.matches && preference("sidebar-open", true));
  toggle("settings", !narrow.matches && preference("settings-open", false));
}

function escape() {
  const dialog = document.querySelector("dialog[open]");
  if (dialog) dialog.close();
  else if (running.has(current.id)) stop();
  else if (!$("settings").hidden) toggle("settings", false);
  else if (narrow.matches && !$("sidebar").hidden) toggle("sidebar", false);
  else $("message").focus();
}

const themes = ["auto", "light", "dark"];
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  setPreference("theme", theme);
  const names = { auto: "as the system", light: "light", dark: "dark" };
  $("theme").replaceChildren(icon({ auto: "auto", light: "sun", dark: "moon" }[theme]));
  $("theme").title = `Colours: ${names[theme]}`;
  $("theme").setAttribute("aria-label", $("theme").title);
}

function setProbabilities(on) {
  probabilities = on;
  setPreference("probabilities", on);
  $("probabilities").setAttribute("aria-checked", on);
  thread.show(current);
}

// --- the server -------------------------------------------------------------------------------------------------------

const states = { ok: "ready", busy: "not ready yet", lost: "no connection", key: "API key needed" };
function setStatus(state) {
  $("status").dataset.state = state;
  $("status-text").textContent = states[state];
}

async function checkHealth() {
  clearTimeout(checkHealth.timer);
  const state = document.hidden ? null : await health();
  if (state) {
    const cameBack = state === "ok" && $("status").dataset.state !== "ok";
    if (state !== "ok") setStatus(state);
    else if (cameBack) await greet();
  }
  checkHealth.timer = setTimeout(checkHealth, state === "ok" ? 15000 : 4000);
}

/// Asks the server what it serves and how it samples.
async function greet() {
  try {
    [model = ""] = await models();
    $("model").textContent = model;
    const { default_generation_settings: defaults = {} } = await props();
    settings.showDefaults(defaults.params ?? defaults);
    setStatus("ok");
  } catch (error) {
    setStatus(error.kind === "key" ? "key" : "lost");
  }
}

// --- begin ------------------------------------------------------------------------------------------------------------

const growComposer = growWithText($("message"));

function listen() {
  $("composer").addEventListener("submit", (event) => (event.preventDefault(), submit()));
  $("message").addEventListener("keydown", (event) => {
    // While an input method is composing, Enter chooses a word; on a phone's keyboard it begins a line.
    const sends = event.ctrlKey || event.metaKey || (!event.shiftKey && !touch.matches);
    if (event.key === "Enter" && sends && !event.isComposing) (event.preventDefault(), submit());
    if (event.key === "ArrowUp" && event.target.value === "" && !event.altKey) (event.preventDefault(), thread.editLastOfUser());
  });
  $("stop").addEventListener("click", stop);
  $("new-conversation").addEventListener("click", startConversation);
  for (const panel of ["sidebar", "settings"]) {
    for (const button of document.querySelectorAll(`[data-toggle="${panel}"]`)) button.addEventListener("click", () => toggle(panel));
  }
  $("backdrop").addEventListener("click", () => ["sidebar", "settings"].forEach((panel) => toggle(panel, false)));
  $("probabilities").addEventListener("click", () => setProbabilities(!probabilities));
  $("theme").addEventListener("click", () => setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % 3]));
  $("show-shortcuts").addEventListener("click", () => $("shortcuts").showModal());
  $("close-shortcuts").addEventListener("click", () => $("shortcuts").close());
  $("export").addEventListener("click", () => exportFile([...store.conversations.values()]));
  $("import").addEventListener("click", () => $("import-file").click());
  $("import-file").addEventListener("change", importChosen);
  $("status").addEventListener("click", enterKey);
  $("api-key").value = apiKey.get();
  $("api-key").addEventListener("change", () => (apiKey.set($("api-key").value.trim()), greet()));
  addEventListener("popstate", openFromAddress);
  document.addEventListener("visibilitychange", () => document.hidden || checkHealth());
  narrow.addEventListener("change", layOut);
  listenForKeys({
    newConversation: startConversation, toggleSidebar: () => toggle("sidebar"), toggleSettings: () => toggle("settings"),
    toggleProbabilities: () => setProbabilities(!probabilities), focusMessage: (by) => thread.focusNext(by),
    focusComposer: () => $("message").focus(), showShortcuts: () => $("shortcuts").showModal(), escape,
  });
}

async function start() {
  setTheme(document.documentElement.dataset.theme);
  showHint();
  listen();
  layOut();
  setProbabilities(probabilities);
  checkHealth();
  const kept = await store.open({
    isBusy: (id) => running.has(id),
    onOtherTab: (id) => (id === current.id ? openFromAddress() : renderSidebar()),
    onFailure: () => toast("The browser refused to keep this conversation: its storage may be full. Export it."),
  });
  if (!kept) toast("This browser keeps nothing here: conversations end with the page.");
  openFromAddress();
  document.body.dataset.ready = "yes";
  if (!narrow.matches) $("message").focus();
}

start();
