// The settings of a request: the one table that the settings panel is built from, that values are checked by, and that
// says what goes into a request.  Settings are kept as the texts that were typed; "" is left to the server.

/// {key of the API, label, hint, kind, min, max, step}; `server` is what /props calls the default if not the same, and
/// `unset` what to say where there is none.
export const sampling = [
  { key: "temperature", label: "Temperature", hint: "0 is greedy", kind: "number", min: 0, max: 2, step: 0.05 },
  { key: "top_p", label: "Top p", hint: "likeliest that sum to p", kind: "number", min: 0, max: 1, step: 0.01 },
  { key: "top_k", label: "Top k", hint: "0 keeps all", kind: "integer", min: 0, max: 2147483647, step: 1 },
  { key: "min_p", label: "Min p", hint: "relative to the likeliest", kind: "number", min: 0, max: 1, step: 0.01 },
  { key: "presence_penalty", label: "Presence penalty", hint: "for having occurred", kind: "number", min: -2, max: 2, step: 0.1 },
  { key: "frequency_penalty", label: "Frequency penalty", hint: "per occurrence", kind: "number", min: -2, max: 2, step: 0.1 },
  { key: "repetition_penalty", label: "Repetition penalty", hint: "1 is none", kind: "number", min: 0.01, max: 100, step: 0.01, server: "repeat_penalty" },
  { key: "max_tokens", label: "Max tokens", hint: "length of an answer", kind: "integer", min: 1, max: 2147483647, step: 1, unset: "no limit" },
  { key: "seed", label: "Seed", hint: "same seed, same text", kind: "integer", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, server: "", unset: "random" },
];

const texts = [
  { key: "stop", label: "Stop strings", hint: "one per line", kind: "lines", rows: 2 },
];

const output = [
  { key: "response_format", label: "Answer as", kind: "choice",
    choices: [["", "Text"], ["json_object", "JSON"], ["json_schema", "JSON by a schema"]] },
  { key: "schema", label: "JSON schema", hint: "for “JSON by a schema”", kind: "json", rows: 4, placeholder: '{"type": "object", …}' },
];

const tools = [
  { key: "tools", label: "Tools", hint: "a list, as the API takes it", kind: "json", rows: 5,
    placeholder: '[{"type": "function", "function": {"name": …, "parameters": …}}]' },
  { key: "tool_choice", label: "Use of tools", kind: "choice", choices: [["", "As the model likes"], ["none", "Never"], ["required", "Always"]] },
];

/// What the panel shows, group by group.
export const groups = [
  { title: "System message", fields: [{ key: "system", label: "System message", kind: "text", rows: 4, quiet: true,
    placeholder: "What the model should know or be before the conversation begins." }] },
  { title: "Sampling", fields: [...sampling, ...texts] },
  { title: "Form of the answer", fields: output },
  { title: "Tools", fields: tools },
];

/// What is wrong with a value, as a sentence, or "".
export function problem(field, value) {
  const text = String(value ?? "").trim();
  if (text === "") return "";
  if (field.kind === "number" || field.kind === "integer") {
    const number = Number(text);
    if (!Number.isFinite(number) || (field.kind === "integer" && !Number.isInteger(number))) {
      return `expected ${field.kind === "integer" ? "a whole number" : "a number"}, got “${text}”`;
    }
    if (number < field.min || number > field.max) return `expected ${field.min} to ${field.max}, got ${text}`;
  }
  if (field.kind === "lines" && lines(text).length > 16) return "expected at most 16 lines";
  if (field.kind === "json") return jsonProblem(field, text);
  return "";
}

function jsonProblem(field, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `expected JSON: ${error.message}`;
  }
  if (field.key === "tools" && !Array.isArray(value)) return "expected a list [ … ]";
  if (field.key === "schema" && (typeof value !== "object" || value === null)) return "expected an object { … }";
  return "";
}

/// The fields of a request.  A value with a problem is left out: the panel says so where it stands.
export function requestFields(settings) {
  const request = {};
  const good = (field) => String(settings[field.key] ?? "").trim() !== "" && problem(field, settings[field.key]) === "";
  for (const field of sampling) {
    if (good(field)) request[field.key] = Number(settings[field.key]);
  }
  if (good(texts[0])) request.stop = lines(settings.stop);
  if (settings.response_format === "json_object") request.response_format = { type: "json_object" };
  if (settings.response_format === "json_schema" && good(output[1])) {
    const schema = JSON.parse(settings.schema);
    request.response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
  }
  if (good(tools[0])) {
    const list = JSON.parse(settings.tools);
    if (list.length > 0) request.tools = list;
    if (request.tools && settings.tool_choice) request.tool_choice = settings.tool_choice;
  }
  return request;
}

function lines(text) {
  return text.split("\n").filter((line) => line !== "");
}
