// Says in numbers what an action will do: pure functions of what the API returned.

import { many, number, secondsSince } from "/dashboard/format.js";

const REPORTED_AFTER = 5;

/** Whether a worker may hold this and had no time to report it yet: workers report every two seconds. */
export const isFresh = (batch) => batch.worker === null && secondsSince(batch.since) < REPORTED_AFTER;

/** The effects of a dry run, as sentences. */
export const effects = (dryRun) => dryRun.effects.map(({ what, then }) => [what, then]);

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
