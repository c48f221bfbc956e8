// The seeds, and the page of one.

import { id as quoted, path } from "/dashboard/api.js";
import { h } from "/dashboard/dom.js";
import * as forecast from "/dashboard/forecast.js";
import { duration, inWords, many, number, rate, secondsSince } from "/dashboard/format.js";
import { history, rateOf, sample } from "/dashboard/history.js";
import {
  HELD,
  PAGE,
  absent,
  act,
  card,
  choice,
  facts,
  filterBox,
  ifYou,
  note,
  pages,
  pill,
  seedLink,
  spark,
  table,
  timeline,
} from "/dashboard/parts.js";

const STATES = { "": "All states", running: "Running", released: "Released" };

/** Whether no worker can take a seed's items, or no coordinator hands them out: it does not move by itself. */
const isBlocked = (seed) => Boolean(seed.why?.startsWith("no "));

/** Whether a seed has an obstacle and does not move; a seed at its throttle or with a full queue may move. */
export const isStuck = (seed) => seed.state === "running" && Boolean(seed.why) && (isBlocked(seed) || !rateOf(seed));

/** Show the state in a word: released, drained, held up, waiting, or running. */
export function stateOf(seed) {
  if (seed.state === "released") return pill("released", "warn");
  if (seed.progress?.drained) return pill("drained", "plain");
  if (isBlocked(seed)) return pill("held up", "bad");
  return isStuck(seed) ? pill("waits", "warn") : pill("running", "good");
}

/** Say for how long it has been running or released; its events say since when it is drained. */
const since = (seed, tag) =>
  seed.since &&
  !seed.progress?.drained &&
  h(tag, { class: "faint" }, `for ${duration(secondsSince(seed.since))}`);

const figure = (seed, value) => [
  !seed.counts.exact && h("span", { class: "faint", title: "an estimate" }, "≈"),
  number(value),
];

const policies = (seed) => [
  seed.priority !== "medium" && h("span", { class: "tag strong" }, `${seed.priority} priority`),
  seed.policies.map((policy) =>
    policy.type === "throttle"
      ? h("span", { class: "tag", title: forecast.describe(policy) }, `≤ ${number(policy.value)}/${policy.period}`)
      : h("span", { class: "tag route", title: forecast.describe(policy) }, policy.routeTo),
  ),
];

const buttons = (seed) => [
  seed.state === "released" ? act("resume-seed", seed.id, "Resume") : act("release-seed", seed.id, "Release"),
  act("set-seed", seed.id, "Policies"),
];

const COLUMNS = [
  {
    label: "Seed",
    sort: "id",
    cell: (seed) => [
      seedLink(seed.id),
      seed.why && seed.state === "running" && h("small", { class: isBlocked(seed) ? "why" : "faint" }, inWords(seed.why)),
    ],
  },
  {
    label: "State",
    cell: (seed) => [
      stateOf(seed),
      since(seed, "small"),
    ],
  },
  { label: "Available", kind: "number", sort: "available", cell: (seed) => figure(seed, seed.counts.available) },
  { label: "Queued", kind: "number", sort: "queued", cell: (seed) => figure(seed, seed.counts.queued) },
  { label: "Sent", kind: "number", sort: "sent", cell: (seed) => figure(seed, seed.counts.sent) },
  { label: "Taken", kind: "number", sort: "taken", cell: (seed) => figure(seed, seed.counts.taken) },
  { label: "Items/s", kind: "number", sort: "rate", cell: (seed) => rate(rateOf(seed)) },
  { label: "Trend", kind: "trend", cell: (seed) => spark(history(seed.id)) },
  { label: "Policies", cell: policies },
  { label: "Actions", kind: "actions", cell: buttons },
];

export const seeds = {
  title: () => "Seeds",
  reads: (query) => [
    path("/seed", { state: query.state, q: query.q, sort: query.sort, offset: query.offset, limit: PAGE }),
  ],
  tick: ([list]) => list?.status === 200 && sample(list.body.seeds),
  show: ([list], query) => [
    h(
      "div",
      { class: "tools" },
      filterBox("q", "Part of a seed's id", query.q),
      choice("state", "State", STATES, query.state),
      list?.status === 200 && pages("seeds", query, list.body.count.totalItems),
    ),
    list?.status === 200 && list.body.seeds.length
      ? table("Seeds: where their items are, and how fast they are taken", COLUMNS, list.body.seeds, {
          view: "seeds",
          query,
        })
      : absent(
          list,
          query.q || query.state
            ? "No seed matches."
            : "There is no seed yet. Add items: coordinator submit my-seed items.jsonl",
        ),
  ],
};

const stages = (seed) =>
  h(
    "dl",
    { class: "stages" },
    ["available", "queued", "sent", "taken"].map((place) =>
      h("div", { class: place }, h("dt", {}, place), h("dd", {}, figure(seed, seed.counts[place]))),
    ),
  );

const factsOf = (seed) =>
  facts([
    ["Owner", seed.owner ? h("code", {}, seed.owner) : "none while it is released"],
    ["Epoch", number(seed.epoch)],
    ["Priority", `${seed.priority}, share ${{ low: 1, medium: 4, high: 16 }[seed.priority]}`],
    ["Batches of", many(seed.batchSize, "item")],
    [
      "Policies",
      seed.policies.length
        ? seed.policies.map((one) => h("div", {}, forecast.describe(one)))
        : "none: any worker, at any rate",
    ],
    ["Taken, not done", seed.progress.inHand ? many(seed.progress.inHand, "item") : null],
  ]);

export const seed = {
  title: (query) => `Seed ${query.id}`,
  reads: (query) => [
    `/seed/${quoted(query.id)}`,
    path("/batch/held", { seed: query.id, limit: 200 }),
    path("/event", { seed: query.id, limit: 60 }),
    `/dry-run/release/seed/${quoted(query.id)}`,
  ],
  tick: ([one]) => one?.status === 200 && sample([one.body]),
  show([one, holdings, events, release], query) {
    if (one?.status !== 200) return [absent(one)];
    const held = holdings?.status === 200 ? holdings.body.batches.filter((batch) => batch.seed === query.id) : [];
    const found = one.body;
    return [
      h(
        "div",
        { class: "tools" },
        stateOf(found),
        since(found, "span"),
        h("span", { class: "grow" }),
        buttons(found),
      ),
      found.why &&
        note(
          isBlocked(found) ? "bad" : "warn",
          h("strong", {}, isStuck(found) || found.state === "released" ? "Why it does not move: " : "What slows it: "),
          inWords(found.why),
        ),
      stages(found),
      h(
        "div",
        { class: "columns" },
        card(
          "Now",
          h("p", { class: "big" }, rate(rateOf(found)), h("small", {}, " items/s taken")),
          spark(history(found.id), 480, 56),
          factsOf(found),
        ),
        found.state === "running" && ifYou("release it now", release),
      ),
      card(
        "Who holds its batches",
        held.length
          ? table(
              "Batches of this seed in hand",
              HELD.filter((column) => column.label !== "Seed"),
              held,
              { key: (row) => row.batch + row.worker },
            )
          : absent(holdings, "No batch of it is held."),
      ),
      card("What happened", timeline(events, `the seed ${query.id}`, "seed")),
    ];
  },
};
