// Says in numbers what an action will do: pure functions of what the API returned.

import { many, number, secondsSince } from "/dashboard/format.js";

const REPORTED_AFTER = 5;

/** Whether a worker may hold this and had no time to report it yet: workers report every two seconds. */
export const isFresh = (batch) => batch.worker === null && secondsSince(batch.since) < REPORTED_AFTER;

const total = (batches) => batches.reduce((sum, batch) => sum + batch.count, 0);
const both = (batches) => `${many(batches.length, "batch", "batches")} (${many(total(batches), "item")})`;

/** Sort the held batches of a seed by what a release does with them. */
function sortHeld(held, transports) {
  const sorted = { overHttp: [], waiting: [], inHand: [], fresh: [], strangers: [] };
  for (const batch of held) {
    if (isFresh(batch)) sorted.fresh.push(batch);
    else if (batch.worker === null) sorted.strangers.push(batch);
    else if (transports.get(batch.worker) === "http") sorted.overHttp.push(batch);
    else if (batch.begun) sorted.inHand.push(batch);
    else sorted.waiting.push(batch);
  }
  return sorted;
}

/** Return sentences about what a release of a seed will do; the first part of each is shown in bold. */
export function releaseSeed(seed, held, transports) {
  const { overHttp, waiting, inHand, fresh, strangers } = sortHeld(held, transports);
  const { available, queued } = seed.counts;
  return [
    available
      ? [many(available, "available item"), "stay where they are until you resume the seed."]
      : ["Nothing", "is available now. New items wait until you resume the seed."],
    queued && [`${many(queued, "item")} in unsent batches`, "go back to available, with no attempt counted."],
    overHttp.length && [
      `${both(overHttp)} held over HTTP`,
      "are taken back from their workers; a late ack is refused, so work already done on them may be done again.",
    ],
    waiting.length && [`${both(waiting)} waiting at AMQP workers`, "are given back: no worker has begun them."],
    inHand.length && [
      `${both(inHand)} in hand at AMQP workers`,
      "finish their current item, and the rest of the batch is given back.",
    ],
    fresh.length && [`${both(fresh)} handed out just now`, "are with workers that have not reported yet whether they have begun."],
    strangers.length && [
      `${both(strangers)} with other AMQP clients`,
      "stay with them: a client without our library keeps what it holds.",
    ],
    [
      `Epoch ${number(seed.epoch)} becomes ${number(seed.epoch + 1)}:`,
      "batches of the older epoch are never handed out again.",
    ],
  ].filter(Boolean);
}

export function resumeSeed(seed) {
  const { available } = seed.counts;
  return [
    [many(available, "available item"), "may be handed out again, at once."],
    seed.policies.length > 0 && [
      many(seed.policies.length, "policy", "policies"),
      "apply as before: throttles and routes are kept.",
    ],
  ].filter(Boolean);
}

/** Return sentences about what a release of a worker will do. */
export function releaseWorker(worker) {
  const { held } = worker;
  const seeds = new Set(held.map((batch) => batch.seed)).size;
  const begunOnes = held.filter((batch) => batch.begun);
  const cut =
    worker.transport === "http"
      ? "its handles end: a late ack is refused. Its next fetch is served again."
      : "its connections are closed and its own broker user is deleted. It can register again.";
  return [
    held.length
      ? [`${both(held)} of ${many(seeds, "seed")}`, "go to other workers at once, each with one attempt more."]
      : ["No batch", "is reported by it. Batches that it holds without reporting them go to others too."],
    begunOnes.length && [both(begunOnes), "may have begun: work on them is done again."],
    [worker.transport === "http" ? "It speaks HTTP:" : "It speaks AMQP:", cut],
  ].filter(Boolean);
}

export function drainWorker(worker) {
  return [
    worker.held.length
      ? [both(worker.held), "are finished and acked by it."]
      : ["It holds nothing,", "so it is drained at once."],
    ["No new batch", "goes to it from then on. No work is done twice."],
  ];
}

const what = (letter) =>
  letter.count === null || letter.count === undefined ? `1 ${letter.kind}` : `1 batch (${many(letter.count, "item")})`;

export function retryDead(letter) {
  return [
    [
      what(letter),
      `goes back to where it came from${letter.seed ? `, the seed ${letter.seed},` : ""} and is tried again.`,
    ],
    letter.attempt !== null && [`Attempt ${number(letter.attempt)} becomes 1,`, "and its history starts again."],
  ].filter(Boolean);
}

export function dropDead(letter) {
  return [[what(letter), "is deleted for good. It cannot be restored."]];
}

const SHARES = { low: 1, medium: 4, high: 16 };

/** Return sentences about what differs between two sets of policies. */
export function changeSeed(seed, wanted) {
  const changes = [];
  if (seed.priority !== wanted.priority) {
    changes.push([
      `Share ${SHARES[seed.priority]} becomes ${SHARES[wanted.priority]}:`,
      `priority ${wanted.priority} instead of ${seed.priority}.`,
    ]);
  }
  if (seed.batchSize !== wanted.batchSize) {
    changes.push([`Batches of ${number(wanted.batchSize)}`, `instead of ${many(seed.batchSize, "item")}.`]);
  }
  const before = seed.policies.map(describe);
  const after = wanted.policies.map(describe);
  for (const one of after) if (!before.includes(one)) changes.push(["New:", `${one}.`]);
  for (const one of before) if (!after.includes(one)) changes.push(["No longer:", `${one}.`]);
  return changes;
}

/** Describe a policy in a few words. */
export function describe(policy) {
  return policy.type === "throttle"
    ? `at most ${many(policy.value, "item")} a ${policy.period}`
    : `only workers with the tag ${policy.routeTo}`;
}
