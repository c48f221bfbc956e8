// Formats figures for people.

const NUMBER = new Intl.NumberFormat("en");

export const number = (value) => (value === null || value === undefined ? "–" : NUMBER.format(value));

/** `3 batches`, `1 batch`. */
export const many = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return "–";
  return perSecond >= 10 || perSecond === 0 ? number(Math.round(perSecond)) : perSecond.toFixed(1);
}

/** Format seconds in their two largest units. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

let offset = 0;

/** Use the server's clock, so that durations are right even if the browser's clock is wrong. */
export function setClock(serverSeconds) {
  offset = serverSeconds - Date.now() / 1000;
}

export const now = () => Date.now() / 1000 + offset;
export const ago = (moment) => duration(now() - Date.parse(moment) / 1000);
export const secondsSince = (moment) => now() - Date.parse(moment) / 1000;

/** Format the time of day, with the date if it is not today. */
export function clock(moment) {
  const date = new Date(moment);
  if (Number.isNaN(date.valueOf())) return "–";
  const day = (one) => one.toLocaleDateString("sv-SE");
  const time = date.toLocaleTimeString("en-GB");
  return day(date) === day(new Date(now() * 1000)) ? time : `${day(date)} ${time}`;
}

/** Return a sentence of the coordinator with its times in local format. */
export const inWords = (text) => text.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)/g, clock);

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Shorten a long id; the title of its element has all of it. */
export const brief = (id) => (id.length > 22 ? `${id.slice(0, 14)}…${id.slice(-5)}` : id);
