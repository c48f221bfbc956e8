// The dialog before an action, and the message after it.

import { h } from "/dashboard/dom.js";

const SHOWN_FOR = 12_000;

/** Make a list of the sentences of a forecast. */
export const asList = (sentences) =>
  h(
    "ul",
    { class: "forecast" },
    sentences.map(([what, then]) => h("li", {}, h("strong", {}, what), " ", then)),
  );

/**
 * Ask; return the dialog's form if the user confirms, or null.
 *
 * `body` are nodes; `confirm` is the label of the button; set `danger` for an action that cannot be undone or repeats work.
 */
export function ask({ title, body, confirm, danger = false }) {
  const dialog = document.getElementById("ask");
  const form = h(
    "form",
    {},
    h("h2", { id: "ask-title" }, title),
    h("div", { class: "body" }, body),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "quiet", value: "no" }, "Cancel"),
      h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm),
    ),
  );
  dialog.replaceChildren(form);
  return new Promise((resolve) => {
    let answer = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer = form;
      dialog.close();
    });
    form.querySelector("[value=no]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => resolve(answer), { once: true });
    dialog.showModal();
  });
}

/** Say what was done, or why it was not. The message stays long enough to read it, and can be dismissed. */
export function say(text, tone = "good") {
  const place = document.getElementById("said");
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Dismiss" }, "×");
  const message = h("p", { class: `toast ${tone}` }, h("span", {}, text), close);
  close.addEventListener("click", () => message.remove());
  place.append(message);
  while (place.children.length > 4) place.firstChild.remove();
  setTimeout(() => message.remove(), tone === "bad" ? SHOWN_FOR * 2 : SHOWN_FOR);
}
