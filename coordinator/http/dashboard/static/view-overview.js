// The overview: problems first, then the batches that are held the longest, then the fastest seeds.

import { h } from "/dashboard/dom.js";
import { inWords, many, number, rate } from "/dashboard/format.js";
import { history, rateOf, sample } from "/dashboard/history.js";
import { HELD, absent, card, hits, note, seedLink, spark, table } from "/dashboard/parts.js";
import { queueWarnings } from "/dashboard/view-cluster.js";
import { isStuck, stateOf } from "/dashboard/view-seeds.js";

const FASTEST = [
  { label: "Seed", cell: (seed) => seedLink(seed.id) },
  { label: "State", cell: stateOf },
  { label: "Available", kind: "number", cell: (seed) => number(seed.counts.available) },
  { label: "Sent", kind: "number", cell: (seed) => number(seed.counts.sent) },
  { label: "Items/s", kind: "number", cell: (seed) => rate(rateOf(seed)) },
  { label: "Trend", kind: "trend", cell: (seed) => spark(history(seed.id)) },
];

const tile = (label, value, href, tone = "") =>
  h("a", { class: `tile ${tone}`, href }, h("span", {}, label), h("strong", {}, value));

function tiles(part) {
  if (part?.status !== 200) return [];
  const { seeds, workers, held, dead } = part.body;
  return [
    h(
      "div",
      { class: "tiles" },
      tile("Seeds running", number(seeds.running), "#/seeds?state=running"),
      tile("Seeds released", number(seeds.released), "#/seeds?state=released", seeds.released ? "warn" : ""),
      tile(
        "Workers live",
        `${number(workers.live)} of ${number(workers.known)}`,
        "#/workers",
        workers.known > workers.live ? "warn" : "",
      ),
      tile("Batches in hand", number(held), "#/batches"),
      tile("Dead letters", number(dead), "#/dead", dead ? "bad" : ""),
    ),
  ];
}

function troubles(summary, queues, waiting) {
  const blocked = summary?.status === 200 && summary.body.blocked;
  const stuck = waiting?.status === 200 ? waiting.body.seeds.filter(isStuck) : [];
  return [
    blocked && note("bad", h("strong", {}, "The broker is blocked. "), "It has an alarm and takes no messages."),
    ...queueWarnings(queues),
    stuck.length > 0 &&
      card(
        `${many(stuck.length, "seed")} with items that do not move`,
        hits(stuck.slice(0, 8), (seed) => [seedLink(seed.id), `: ${inWords(seed.why)}`]),
      ),
  ].filter(Boolean);
}

export const overview = {
  title: () => "Overview",
  reads: () => [
    "/seed?sort=-rate&limit=8",
    "/seed?state=running&sort=-available&limit=50",
    "/batch/held?limit=8",
    "/queue?limit=200",
  ],
  tick: ([fastest]) => fastest?.status === 200 && sample(fastest.body.seeds),
  show([fastest, waiting, held, queues], query, summary) {
    if (summary?.status !== 200) return [absent(summary)];
    return [
      ...tiles(summary),
      ...troubles(summary, queues, waiting),
      card(
        "Held the longest",
        held?.status === 200 && held.body.batches.length
          ? table("Batches held the longest", HELD, held.body.batches, { key: (row) => `${row.batch} ${row.worker}` })
          : absent(held, "No batch is held."),
      ),
      card(
        "Seeds that move the fastest",
        fastest?.status === 200 && fastest.body.seeds.length
          ? table("Seeds that move the fastest", FASTEST, fastest.body.seeds)
          : absent(fastest, "There is no seed yet."),
      ),
    ];
  },
};
