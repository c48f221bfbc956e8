// The held batches, and the search.

import { path } from "/dashboard/api.js";
import { h } from "/dashboard/dom.js";
import { many } from "/dashboard/format.js";
import { HELD, PAGE, absent, card, filterBox, hits, pages, seedLink, table, timeline, workerLink } from "/dashboard/parts.js";

const key = (row) => `${row.batch} ${row.worker}`;

export const batches = {
  title: () => "Batches in hand",
  reads: (query) => [
    path("/batch/held", {
      batch: query.batch,
      worker: query.worker,
      seed: query.seed,
      sort: query.sort,
      offset: query.offset,
      limit: PAGE,
    }),
  ],
  show: ([list], query) => [
    h(
      "div",
      { class: "tools" },
      filterBox("batch", "Batch", query.batch),
      filterBox("worker", "Worker", query.worker),
      filterBox("seed", "Seed", query.seed),
      list?.status === 200 && pages("batches", query, list.body.count.totalItems),
    ),
    list?.status === 200 && list.body.batches.length
      ? table("Batches that were delivered and not acked, the longest held first", HELD, list.body.batches, {
          key,
          view: "batches",
          query,
        })
      : absent(list, "No batch is held."),
  ],
};

const isHit = (text, q) => text.toLowerCase().includes(q.toLowerCase());

export const search = {
  title: (query) => `Found for “${query.q ?? ""}”`,
  reads: ({ q = "" }) => [
    path("/batch/held", { batch: q, limit: PAGE }),
    path("/batch/held", { limit: 1000 }),
    path("/seed", { q, limit: 20 }),
    path("/worker", { q, limit: 20 }),
    path("/event", { batch: q, limit: 60 }),
  ],
  show([exact, held, seeds, workers, events], { q = "" }) {
    const rows = [exact, held].flatMap((part) => (part?.status === 200 ? part.body.batches : []));
    const found = [...new Map(rows.filter((row) => isHit(row.batch, q)).map((row) => [key(row), row])).values()];
    const known = seeds?.status === 200 ? seeds.body.seeds.filter((one) => isHit(one.id, q)) : [];
    const there = workers?.status === 200 ? workers.body.workers.filter((one) => isHit(one.id, q)) : [];
    const past = events?.status === 200 && events.body.events.length > 0;
    if ([exact, held, seeds, workers].includes(undefined)) return [absent(undefined)];
    return [
      h("p", { class: "lead" }, answer(found, known, there)),
      found.length > 0 && card("Batches in hand", table("Batches that match", HELD, found, { key })),
      known.length > 0 &&
        card(
          "Seeds",
          hits(known, (one) => seedLink(one.id, one.id)),
        ),
      there.length > 0 &&
        card(
          "Workers",
          hits(there, (one) => [workerLink(one.id, one.id), ` holds ${many(one.held.length, "batch", "batches")}`]),
        ),
      past && card("What happened to this batch", timeline(events, "this batch", "batch")),
    ].filter(Boolean);
  },
};

/** Answer in a sentence; if one batch was found, say who holds it. */
function answer(found, known, there) {
  if (found.length === 1) {
    const [{ worker, batch }] = found;
    return [
      h("code", {}, batch),
      worker ? " is held by the worker " : " is held by an unknown client",
      worker && workerLink(worker),
    ]
      .filter(Boolean)
      .reduce((line, part) => (line.append(part), line), h("span", {}));
  }
  if (found.length + known.length + there.length)
    return `${many(found.length, "batch", "batches")} in hand, ${many(known.length, "seed")}, ${many(there.length, "worker")}.`;
  return "No such batch is held now, and no seed or worker has this in its id.";
}
