// The settings panel: the fields of fields.js as a form, for the conversation on screen.
import { growWithText, h } from "./dom.js";
import { groups, problem } from "./fields.js";

export class SettingsPanel {
  #form = document.getElementById("settings-form");
  #rows = new Map(); // key -> {field, input, error, hint}
  #settings = {};

  /// `onchange()` is called when a setting of the conversation shown has changed.
  constructor(onchange) {
    for (const group of groups) {
      const rows = group.fields.map((field) => this.#build(field));
      this.#form.append(h("fieldset", {}, h("legend", {}, group.title), ...rows));
    }
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("input", (event) => {
      const row = this.#rows.get(event.target.name);
      if (!row) return;
      this.#settings[row.field.key] = event.target.value;
      this.#check(row);
      onchange();
    });
    document.getElementById("reset-settings").addEventListener("click", () => {
      for (const key of Object.keys(this.#settings)) delete this.#settings[key];
      this.show(this.#settings);
      onchange();
    });
  }

  /// Shows a conversation's settings, which it goes on to change.
  show(settings) {
    this.#settings = settings;
    for (const row of this.#rows.values()) {
      row.input.value = settings[row.field.key] ?? "";
      this.#check(row);
      row.grow?.();
    }
  }

  /// Shows what the server does where a field is empty; `defaults` as /props has them.
  showDefaults(defaults) {
    for (const { field, input } of this.#rows.values()) {
      if (field.kind !== "number" && field.kind !== "integer") continue;
      const value = defaults[field.server ?? field.key];
      input.placeholder = Number.isFinite(value) && value >= field.min ? String(+value.toFixed(4)) : field.unset ?? "default";
    }
  }

  /// Moves to the first field with a problem; answers whether there is one.
  focusProblem(open) {
    const bad = [...this.#rows.values()].find(({ field }) => problem(field, this.#settings[field.key]) !== "");
    if (!bad) return false;
    open();
    bad.input.focus();
    return true;
  }

  #build(field) {
    const id = `setting-${field.key}`;
    const input = inputFor(field, { id, name: field.key, "aria-describedby": `${id}-hint ${id}-error` });
    const row = { field, input, error: h("p", { id: `${id}-error`, class: "problem" }) };
    if (input.tagName === "TEXTAREA") row.grow = growWithText(input);
    this.#rows.set(field.key, row);
    const numeric = field.kind === "number" || field.kind === "integer";
    return h("div", { class: `field ${numeric ? "numeric" : ""}` },
      h("label", { htmlFor: id, class: field.quiet ? "visually-hidden" : "" }, field.label),
      h("p", { id: `${id}-hint`, class: "hint" }, field.hint ?? ""), input, row.error);
  }

  #check({ field, input, error }) {
    error.textContent = problem(field, this.#settings[field.key]);
    input.setAttribute("aria-invalid", error.textContent !== "");
  }
}

function inputFor(field, props) {
  switch (field.kind) {
    case "choice": return h("select", props, ...field.choices.map(([value, label]) => h("option", { value }, label)));
    case "number":
    case "integer":
      // A text field: type=number would hide what was typed when it is no number, and change it on scrolling.
      return h("input", { ...props, type: "text", inputMode: "decimal", autocomplete: "off", placeholder: "default",
        onkeydown: (event) => step(event, field) });
    default: return h("textarea", { ...props, rows: field.rows, placeholder: field.placeholder ?? "",
      spellcheck: field.kind === "text", class: field.kind === "text" ? "" : "mono" });
  }
}

/// Arrow keys step a number within its range, as in a number field.
function step(event, field) {
  const by = { ArrowUp: field.step, ArrowDown: -field.step }[event.key];
  if (!by) return;
  event.preventDefault();
  const input = event.target;
  const from = Number(input.value || input.placeholder) || 0;
  input.value = String(+Math.min(Math.max(from + by, field.min), field.max).toFixed(4));
  input.dispatchEvent(new Event("input", { bubbles: true }));
}
