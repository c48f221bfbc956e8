// The form for a seed's priority, batch size, throttles and routes.

import { h } from "/dashboard/dom.js";

const PERIODS = ["second", "minute", "hour", "day"];
const PRIORITIES = { low: "low (share 1)", medium: "medium (share 4)", high: "high (share 16)" };

const option = (value, text, is) => h("option", { value, selected: is }, text);

function throttleRow(throttle) {
  const row = h(
    "div",
    { class: "row", "data-throttle": "" },
    h("span", {}, "at most"),
    h("input", {
      type: "number",
      name: "value",
      min: "1",
      max: "1000000000",
      required: true,
      value: throttle.value,
      "aria-label": "Items",
    }),
    h("span", {}, "items a"),
    h(
      "select",
      { name: "period", "aria-label": "Period" },
      PERIODS.map((one) => option(one, one, one === throttle.period)),
    ),
    remover("Remove this throttle"),
  );
  return row;
}

function routeRow(tag) {
  return h(
    "div",
    { class: "row", "data-route": "" },
    h("span", {}, "only workers with the tag"),
    h("input", { name: "tag", required: true, maxlength: "64", value: tag, "aria-label": "Tag" }),
    remover("Remove this route"),
  );
}

function remover(label) {
  const button = h("button", { type: "button", class: "quiet", "aria-label": label }, "×");
  button.addEventListener("click", () => button.parentElement.remove());
  return button;
}

function adder(label, rows, make) {
  const button = h("button", { type: "button" }, label);
  button.addEventListener("click", () => {
    const row = make();
    rows.append(row);
    row.querySelector("input").focus();
  });
  return button;
}

/** Make the form's fields, filled with the seed's values. */
export function policyForm(seed) {
  const throttles = h("div", {}, seed.policies.filter((one) => one.type === "throttle").map(throttleRow));
  const routes = h(
    "div",
    {},
    seed.policies.filter((one) => one.type === "route").map((one) => routeRow(one.routeTo)),
  );
  return [
    h(
      "label",
      {},
      "Priority ",
      h(
        "select",
        { name: "priority" },
        Object.entries(PRIORITIES).map(([value, text]) => option(value, text, value === seed.priority)),
      ),
    ),
    h(
      "label",
      {},
      "Items in a batch ",
      h("input", { type: "number", name: "batchSize", min: "1", max: "1000", required: true, value: seed.batchSize }),
    ),
    h(
      "fieldset",
      {},
      h("legend", {}, "Throttles"),
      throttles,
      adder("Add a throttle", throttles, () => throttleRow({ value: 100, period: "second" })),
    ),
    h(
      "fieldset",
      {},
      h("legend", {}, "Routes"),
      routes,
      adder("Add a route", routes, () => routeRow("")),
    ),
    h(
      "p",
      { class: "faint" },
      "Your changes apply to what is dispatched from then on. You confirm them in the next step.",
    ),
  ];
}

/** Read the form as the API takes it. */
export function readPolicies(form) {
  const throttles = [...form.querySelectorAll("[data-throttle]")].map((row) => ({
    type: "throttle",
    period: row.querySelector("[name=period]").value,
    value: Number(row.querySelector("[name=value]").value),
  }));
  const routes = [...form.querySelectorAll("[data-route]")].map((row) => ({
    type: "route",
    routeTo: row.querySelector("[name=tag]").value,
  }));
  return {
    priority: form.elements.priority.value,
    batchSize: Number(form.elements.batchSize.value),
    policies: [...throttles, ...routes],
  };
}
