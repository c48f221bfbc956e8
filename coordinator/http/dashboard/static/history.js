// How fast each seed has been taken since this page was opened: one figure a second, for two minutes.

const KEPT = 120;
const MOST_SEEDS = 500;
const OVER = 10;

const rates = new Map();
const totals = new Map();

/** Add the current rates of the shown seeds; called once a second. */
export function sample(seeds) {
  for (const seed of seeds) {
    push(totals, seed.id, seed.counts.taken, OVER + 1);
    push(rates, seed.id, rateOf(seed) ?? 0, KEPT);
  }
}

/** Return items a second: the coordinator's figure, or what the page has seen. */
export function rateOf(seed) {
  if (typeof seed.rate === "number") return seed.rate;
  const seen = totals.get(seed.id);
  if (seen === undefined || seen.length < 2) return null;
  return Math.max(0, seen.at(-1) - seen[0]) / (seen.length - 1);
}

export const history = (id) => rates.get(id) ?? [];

function push(map, id, value, most) {
  const list = map.get(id) ?? [];
  list.push(value);
  if (list.length > most) list.shift();
  map.delete(id);
  map.set(id, list);
  if (map.size > MOST_SEEDS) map.delete(map.keys().next().value);
}
