// Tool calls: put together from a stream, shown as cards, and answered by the person at the page.
import { copyButton, growWithText, h, icon } from "./dom.js";

/// Adds the pieces of a delta's tool_calls to `calls`.  A piece names its call by index; the first one carries id and
/// name, all of them more of the arguments.
export function addToolCalls(calls, pieces) {
  for (const piece of pieces) {
    const index = Number.isInteger(piece.index) && piece.index >= 0 && piece.index < 128 ? piece.index : calls.length;
    while (calls.length <= index) calls.push({ id: "", name: "", arguments: "" });
    const call = calls[index];
    call.id = piece.id ?? call.id;
    call.name = piece.function?.name ?? call.name;
    call.arguments += piece.function?.arguments ?? "";
  }
}

/// Arguments as a person reads them; as they came where they are not (yet) JSON.
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/// The card of one call.
export function toolCard(call) {
  return h("section", { class: "tool", "aria-label": `Tool call ${call.name}` },
    h("header", {}, icon("tool"), h("span", { class: "tool-name" }, call.name), h("span", { class: "tool-id" }, call.id),
      copyButton(() => pretty(call.arguments), "Copy arguments")),
    h("pre", { tabIndex: 0 }, h("code", {}, pretty(call.arguments))));
}

/// A form for the results of calls; `onresults([{id, content}])` is called with all of them.
export function resultsForm(calls, onresults) {
  const fields = calls.map((call, i) => {
    const area = h("textarea", { id: `result-${i}`, rows: 2, required: true, placeholder: '{"what the tool": "would answer"}' });
    growWithText(area);
    return { call, area };
  });
  const form = h("form", { class: "results" },
    ...fields.flatMap(({ call, area }) => [h("label", { htmlFor: area.id }, "Result of ", h("code", {}, call.name)), area]),
    h("button", { type: "submit", class: "primary" }, fields.length > 1 ? "Send results" : "Send result"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onresults(fields.map(({ call, area }) => ({ id: call.id, content: area.value })));
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  return form;
}
