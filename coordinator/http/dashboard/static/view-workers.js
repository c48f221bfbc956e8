// The workers, and the page of one.

import { id as quoted, path } from "/dashboard/api.js";
import { h } from "/dashboard/dom.js";
import { clock, many, number, secondsSince } from "/dashboard/format.js";
import {
  HELD,
  PAGE,
  absent,
  act,
  age,
  card,
  facts,
  filterBox,
  held,
  ifYou,
  pages,
  pill,
  seedLink,
  table,
  tags,
  timeline,
  workerLink,
} from "/dashboard/parts.js";

const SHOWN = 4;
const LATE = 15;
const TONES = { live: "good", silent: "bad", fenced: "bad", draining: "warn" };

/** Show the worker's state. */
function stateOf(worker) {
  const state = worker.state ?? (worker.connected ? "live" : "not connected");
  return pill(state, TONES[state] ?? "plain");
}

/** Draw a bar of how full a worker is, with the figures beside it. */
function load(worker) {
  const count = worker.held.length;
  if (worker.capacity === null) return h("span", {}, number(count));
  const part = worker.capacity ? Math.min(1, count / worker.capacity) : 0;
  return h(
    "span",
    { class: "load" },
    h(
      "svg",
      { viewBox: "0 0 48 8", width: 48, height: 8, "aria-hidden": "true" },
      h("rect", { class: "all", width: 48, height: 8, rx: 4 }),
      part > 0 && h("rect", { class: "used", width: Math.max(8, part * 48), height: 8, rx: 4 }),
    ),
    count > worker.capacity
      ? ` ${number(count)} (${number(worker.capacity)} a queue)`
      : ` ${number(count)} of ${number(worker.capacity)}`,
  );
}

/** List what a worker holds, the longest held first. */
function holdings(worker) {
  if (!worker.held.length) return h("span", { class: "faint" }, "nothing");
  const sorted = worker.held.toSorted((one, other) => (one.since < other.since ? -1 : 1));
  return [
    h(
      "ul",
      { class: "held" },
      sorted
        .slice(0, SHOWN)
        .map((one) =>
          h(
            "li",
            { title: one.batch },
            seedLink(one.seed),
            h("span", { class: "faint" }, ` ${many(one.count, "item")} `),
            held(one.since),
          ),
        ),
    ),
    sorted.length > SHOWN && workerLink(worker.id, `and ${many(sorted.length - SHOWN, "more batch", "more batches")}`),
  ];
}

/** Whether a heartbeat is overdue. A worker over HTTP sends none; its fetches count. */
const isLate = (worker) => worker.transport === "amqp" && secondsSince(worker.lastSeen) > LATE;

const buttons = (worker) => [
  act("release-worker", worker.id, "Release"),
  act("drain-worker", worker.id, "Drain", {
    disabled: worker.transport === "http" && worker.state === "silent" ? "it is not connected" : "",
  }),
];

const COLUMNS = [
  { label: "Worker", sort: "id", cell: (worker) => workerLink(worker.id) },
  { label: "State", sort: "state", cell: stateOf },
  { label: "Tags", cell: (worker) => (worker.tags.length ? tags(worker.tags) : h("span", { class: "faint" }, "none")) },
  { label: "Speaks", cell: (worker) => worker.transport.toUpperCase() },
  { label: "Load", sort: "held", kind: "number", cell: load },
  { label: "Holds, and for how long", cell: holdings },
  {
    label: "Last heard",
    kind: "number",
    sort: "lastSeen",
    cell: (worker) =>
      h("span", { class: isLate(worker) ? "age old" : "", title: clock(worker.lastSeen) }, age(worker.lastSeen)),
  },
  { label: "Actions", kind: "actions", cell: buttons },
];

export const workers = {
  title: () => "Workers",
  reads: (query) => [path("/worker", { q: query.q, sort: query.sort, offset: query.offset, limit: PAGE })],
  show: ([list], query) => [
    h(
      "div",
      { class: "tools" },
      filterBox("q", "Part of a worker's id", query.q),
      list?.status === 200 && pages("workers", query, list.body.count.totalItems),
    ),
    list?.status === 200 && list.body.workers.length
      ? table("Workers: what each holds, and for how long", COLUMNS, list.body.workers, { view: "workers", query })
      : absent(list, query.q ? "No worker matches." : "No worker is known yet. Run one: worker-stub --id w1"),
  ],
};

const factsOf = (worker) =>
  facts([
    ["Speaks", worker.transport.toUpperCase()],
    ["Tags", worker.tags.length ? tags(worker.tags) : "none: it gets only untagged batches"],
    ["Load", load(worker)],
    ["Last heard", age(worker.lastSeen)],
    ["Registered", worker.registered ? "yes" : "no: seen, but it never registered"],
    ["Callback", worker.callback ? h("code", {}, worker.callback) : null],
  ]);

export const worker = {
  title: (query) => `Worker ${query.id}`,
  reads: (query) => [
    `/worker/${quoted(query.id)}`,
    path("/event", { worker: query.id, limit: 60 }),
    `/dry-run/release/worker/${quoted(query.id)}`,
    `/dry-run/drain/worker/${quoted(query.id)}`,
  ],
  show([one, events, release, drain], query) {
    if (one?.status !== 200) return [absent(one)];
    const found = one.body;
    const rows = found.held.map((batch) => ({ ...batch, worker: found.id }));
    return [
      h("div", { class: "tools" }, stateOf(found), h("span", { class: "grow" }), buttons(found)),
      h(
        "div",
        { class: "columns" },
        card("What it is", factsOf(found)),
        ifYou("release it now", release),
        ifYou("drain it", drain),
      ),
      card(
        "What it holds",
        rows.length
          ? table(
              "Batches that this worker holds",
              HELD.filter((column) => column.label !== "Worker"),
              rows,
              { key: (row) => row.batch },
            )
          : h("p", { class: "empty" }, "It reports no batch."),
      ),
      card("What happened", timeline(events, `the worker ${query.id}`, "worker")),
    ];
  },
};
