// Parts of several views: pills, tables, pages, sparklines, lists of held batches.

import { path } from "/dashboard/api.js";
import { asList } from "/dashboard/ask.js";
import { h } from "/dashboard/dom.js";
import { effects, isFresh } from "/dashboard/forecast.js";
import { ago, brief, clock, duration, many, number, secondsSince } from "/dashboard/format.js";

export const PAGE = 50;

const link = (kind, id, text) => h("a", { href: `#/${kind}/${encodeURIComponent(id)}`, title: id }, text ?? brief(id));
export const seedLink = (id, text) => link("seed", id, text);
export const workerLink = (id, text) => link("worker", id, text);

/** Make a link to who holds a batch and what happened to it. */
const batchLink = (batch) =>
  h("a", { href: `#${path("/search", { q: batch })}`, title: batch }, h("code", {}, brief(batch)));

export const pill = (text, tone = "") => h("span", { class: `pill ${tone}` }, text);
export const tags = (list) =>
  list.length ? list.map((tag) => h("span", { class: "tag" }, tag)) : h("span", { class: "faint" }, "any worker");
export const note = (tone, ...children) => h("p", { class: `note ${tone}` }, ...children);

/** Make a button that asks before it acts; `disabled` says why it may not act. */
export function act(what, id, label, { disabled = "", tone = "", about = "" } = {}) {
  const mayNot = disabled || (document.body.dataset.manager === "no" ? "your token has no role manager" : "");
  return h(
    "button",
    {
      type: "button",
      class: tone,
      "data-do": what,
      "data-id": id,
      "aria-label": `${label} ${about || id}`,
      "aria-disabled": mayNot ? "true" : null,
      title: mayNot || null,
    },
    label,
  );
}

/** Make a card with a heading; children that are null are left out. */
export function card(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), ...children);
}

/** Make a list of names and values; values that are null are left out. */
export const facts = (rows) =>
  h(
    "dl",
    { class: "facts" },
    rows
      .filter(([, value]) => value !== null)
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );

/** Make a list with one entry for each of `rows`. */
export const hits = (rows, show) =>
  h(
    "ul",
    { class: "hits" },
    rows.map((one) => h("li", { "data-key": one.id }, show(one))),
  );

/** Say why there is no data: still loading, an error, or nothing found. */
export function absent(part, nothing = "") {
  if (part === undefined) return h("p", { class: "faint", role: "status" }, "Loading…");
  if (part.status === 404)
    return note("plain", part.body.message === "Not Found" ? "This coordinator does not have this." : part.body.message);
  if (part.status !== 200) return note("bad", part.body.message);
  return h("p", { class: "empty" }, nothing);
}

/** What an action would do now, as the coordinator says. */
export const ifYou = (act, part) =>
  card(`If you ${act}`, part?.status === 200 ? asList(effects(part.body)) : absent(part));

/**
 * Make a table with one row for each of `rows`.
 *
 * A column is `{label, cell(row), sort?, kind?}`: `sort` is the API's name to sort by, `kind` a class of its cells.
 */
export function table(
  caption,
  columns,
  rows,
  { key = (row) => row.id, view = "", query = {}, rowClass = () => "" } = {},
) {
  const head = columns.map((column) => {
    const kind = column.kind ?? "";
    if (!column.sort || !view) return h("th", { scope: "col", class: kind }, column.label);
    const now = query.sort === column.sort ? "ascending" : query.sort === `-${column.sort}` ? "descending" : null;
    const first = kind.includes("number") ? `-${column.sort}` : column.sort;
    const second = first.startsWith("-") ? column.sort : `-${column.sort}`;
    const href = `#${path(`/${view}`, { ...query, offset: undefined, sort: query.sort === first ? second : first })}`;
    const sign = now === "ascending" ? " ↑" : now === "descending" ? " ↓" : "";
    return h("th", { scope: "col", class: kind, "aria-sort": now }, h("a", { href }, column.label + sign));
  });
  const body = rows.map((row) =>
    h(
      "tr",
      { "data-key": `row ${key(row)}`, class: rowClass(row) || null },
      columns.map((column, place) =>
        h(
          place === 0 ? "th" : "td",
          { scope: place === 0 ? "row" : null, class: column.kind ?? null },
          column.cell(row),
        ),
      ),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)),
  );
}

/** Say which part of a list is shown, with links to the other parts; null if there is only one. */
export function pages(view, query, total) {
  const offset = Number(query.offset ?? 0);
  if (total <= PAGE && !offset) return null;
  const to = (start) => `#${path(`/${view}`, { ...query, offset: start || undefined })}`;
  const shown = `${number(Math.min(offset + 1, total))}–${number(Math.min(offset + PAGE, total))} of ${number(total)}`;
  const step = (label, start, is) =>
    is ? h("a", { class: "button", href: to(start) }, label) : h("span", { class: "button off" }, label);
  return h(
    "nav",
    { class: "pages", "aria-label": "Pages of the list" },
    h("span", {}, shown),
    step("Previous", Math.max(0, offset - PAGE), offset > 0),
    step("Next", offset + PAGE, offset + PAGE < total),
  );
}

export function filterBox(name, label, value) {
  return h("input", {
    type: "search",
    "data-filter": name,
    "aria-label": label,
    placeholder: label,
    value: value ?? "",
    spellcheck: "false",
  });
}

export function choice(name, label, options, value) {
  return h(
    "select",
    { "data-filter": name, "aria-label": label },
    Object.entries(options).map(([one, text]) => h("option", { value: one, selected: one === (value ?? "") }, text)),
  );
}

/** Draw the last values as a line. Screen readers get the last value from the cell beside it. */
export function spark(values, width = 80, height = 22) {
  const most = Math.max(1, ...values);
  const step = width / Math.max(1, values.length - 1);
  const points = values.map(
    (value, place) => `${(place * step).toFixed(1)},${(height - 2 - (value / most) * (height - 4)).toFixed(1)}`,
  );
  const area = `0,${height} ${points.join(" ")} ${width},${height}`;
  return h(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true", focusable: "false" },
    values.length > 1 && [
      h("path", { class: "area", d: `M${area.replaceAll(" ", "L")}Z` }),
      h("polyline", { points: points.join(" ") }),
    ],
  );
}

const AGES = [
  ["old", 600],
  ["aging", 60],
  ["fresh", 0],
];
const ageOf = (moment) => AGES.find(([, least]) => secondsSince(moment) >= least)?.[0] ?? "fresh";

/** Say how long something has been held, in a stronger colour the longer. */
export const held = (moment) =>
  h("span", { class: `age ${ageOf(moment)}`, title: `since ${clock(moment)}` }, ago(moment));

export const begun = (value) =>
  value === null || value === undefined
    ? pill("not reported", "plain")
    : value
      ? pill("begun", "info")
      : pill("waits at the worker", "plain");

const holder = (row) =>
  row.worker
    ? workerLink(row.worker)
    : h("span", { class: "faint" }, isFresh(row) ? "not reported yet" : "an unknown client");

/** The columns of held batches. */
export const HELD = [
  { label: "Batch", sort: "batch", cell: (row) => batchLink(row.batch) },
  { label: "Worker", sort: "worker", cell: holder },
  { label: "Seed", sort: "seed", cell: (row) => seedLink(row.seed) },
  { label: "Items", kind: "number", sort: "count", cell: (row) => number(row.count) },
  { label: "Held for", kind: "number", sort: "since", cell: (row) => held(row.since) },
  { label: "In hand", cell: (row) => begun(row.begun) },
];

const KINDS = {
  "seed.created": ["Seed created", "info"],
  "seed.changed": ["Policies changed", "info"],
  "seed.released": ["Released", "warn"],
  "seed.resumed": ["Resumed", "good"],
  "seed.purged": ["Purged", "bad"],
  "seed.drained": ["Drained: nothing left", "good"],
  "seed.owner": ["New owner", "plain"],
  "worker.seen": ["Seen", "plain"],
  "worker.registered": ["Registered", "info"],
  "worker.released": ["Released", "warn"],
  "worker.fenced": ["Cut off after silence", "bad"],
  "worker.removed": ["Removed", "bad"],
  "worker.draining": ["Asked to drain", "warn"],
  "worker.drained": ["Drained: it holds nothing", "good"],
  "batch.sent": ["Batch queued", "plain"],
  "batch.held": ["Batch at a worker", "info"],
  "batch.acked": ["Batch taken", "good"],
  "batch.returned": ["Batch came back", "warn"],
  "batch.dead": ["Batch dead", "bad"],
};

/** List events, newest first; `own` is what they all share, and is not repeated: `seed`, `worker` or `batch`. */
export function timeline(part, about, own) {
  const events = part?.status === 200 ? part.body.events : [];
  if (!events.length) return absent(part, "No event is recorded.");
  return h(
    "ol",
    { class: "timeline", "aria-label": `What happened to ${about}` },
    events.toReversed().map((one) => event(one, own)),
  );
}

function event(one, own) {
  const [label, tone] = KINDS[one.kind] ?? [one.kind, "plain"];
  const facts = [
    one.batch && own !== "batch" && batchLink(one.batch),
    one.worker && own !== "worker" && h("span", {}, "worker ", workerLink(one.worker)),
    one.seed && own !== "seed" && h("span", {}, "seed ", seedLink(one.seed)),
    one.items !== undefined && one.items !== null && h("span", {}, many(one.items, "item")),
    one.attempt > 1 && h("span", {}, `attempt ${one.attempt}`),
    one.reason && h("span", { class: "faint" }, one.reason),
  ];
  return h(
    "li",
    { "data-key": one.id, class: tone },
    h("time", { datetime: one.at, title: one.at }, clock(one.at)),
    h("strong", {}, label),
    facts,
  );
}

export const age = (moment) => (moment ? `${duration(secondsSince(moment))} ago` : "–");
