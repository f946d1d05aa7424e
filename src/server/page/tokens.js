// An answer as its tokens, shaded by how likely each was, with the alternatives on hover, tap or focus.
//
// One stop for the Tab key; arrow keys, Home and End move among the tokens.
import { h } from "./dom.js";

/// The API's logprobs.content as the page keeps it.  A token may end within a character: its bytes wait in `decoder` for
/// those of the next, and the text of a token that completes none is "".
export function tokensFrom(content, decoder) {
  return content.map(({ token, bytes, logprob, top_logprobs: top }) => ({
    text: bytes ? decoder.decode(new Uint8Array(bytes), { stream: true }) : token,
    logprob,
    top: (top ?? []).map((other) => [other.token, other.logprob]),
  }));
}

/// Shows tokens in `element`; called again, appends those that are new.
export function showTokens(element, tokens) {
  if (element.shownTokens !== tokens) {
    element.replaceChildren();
    element.shownTokens = tokens;
  }
  for (let i = element.childElementCount; i < tokens.length; i++) {
    const { text, logprob } = tokens[i];
    const span = h("span", { class: `token p${level(logprob)}`, tabIndex: i === 0 ? 0 : -1 }, text || "⋯");
    if (text === "\n" || text === "\n\n") span.classList.add("line-end");
    element.append(span);
  }
  if (!element.listens) listen(element);
}

/// 0 for what had to come, up to 4 for a surprise.
function level(logprob) {
  const probability = Math.exp(logprob);
  return [0.9, 0.6, 0.3, 0.1].filter((least) => probability < least).length;
}

function listen(element) {
  element.listens = true;
  const over = (event) => event.target.closest?.(".token");
  element.addEventListener("mouseover", (event) => over(event) && open(over(event)));
  element.addEventListener("mouseleave", close);
  element.addEventListener("focusin", (event) => {
    const token = over(event);
    if (!token) return;
    element.querySelector('[tabindex="0"]').tabIndex = -1;
    token.tabIndex = 0;
    open(token);
  });
  element.addEventListener("focusout", close);
  element.addEventListener("click", (event) => over(event)?.focus());
  element.addEventListener("keydown", (event) => {
    const token = over(event);
    const to = token && { ArrowRight: token.nextElementSibling, ArrowLeft: token.previousElementSibling,
      Home: element.firstElementChild, End: element.lastElementChild }[event.key];
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    to.focus();
  });
}

/// Fills the one tooltip and puts it by the token, inside the window.
function open(token) {
  const tip = document.getElementById("token-tip");
  const { text, logprob, top } = token.parentElement.shownTokens[[...token.parentElement.children].indexOf(token)];
  const rows = top.some(([, other]) => other === logprob) ? top : [[text, logprob], ...top];
  let marked = false;
  tip.replaceChildren(h("table", {}, h("caption", {}, "Likeliest tokens here"), ...rows.map(([other, value]) => {
    const chosen = !marked && value === logprob;
    marked ||= chosen;
    const probability = Math.exp(value);
    return h("tr", { class: chosen ? "chosen" : "" },
      h("td", {}, visible(other)), h("td", {}, h("meter", { min: 0, max: 1, value: probability, "aria-hidden": "true" })),
      h("td", {}, percent(probability)));
  })));
  tip.hidden = false;
  token.setAttribute("aria-describedby", "token-tip");
  const box = token.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8));
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - tip.offsetHeight - 6)}px`;
}

function close() {
  document.getElementById("token-tip").hidden = true;
}

/// A token with its white space to be seen.
function visible(text) {
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣") || "⋯";
}

function percent(probability) {
  if (probability < 0.0001) return "<0.01 %";
  return `${(100 * probability).toFixed(probability < 0.1 ? 2 : 1)} %`;
}
