// Calls of the API. The token is kept for this tab alone, and goes out in a header: a browser adds none by itself.

const PREFIX = "/aspire_api/manager";
const KEPT = "coordinator-token";

export const token = () => sessionStorage.getItem(KEPT);
export const keepToken = (secret) => sessionStorage.setItem(KEPT, secret);
export const forgetToken = () => sessionStorage.removeItem(KEPT);
export const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

/** An answer that is no success. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Call a path of the API, or one of the dashboard's own; gives the JSON of its answer, also where ids were not found. */
export async function call(method, path, body) {
  const place = path.startsWith("/dashboard/") ? path : PREFIX + path;
  const options = { method, headers: headers(), signal: AbortSignal.timeout(30_000) };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(place, options);
  } catch {
    throw new Refusal(0, "the coordinator does not answer: it may have been done or not");
  }
  const told = await answer.json();
  if (!answer.ok) {
    const reason = told.results?.find((one) => one.status !== 200)?.message;
    throw new Refusal(answer.status, reason ?? told.message ?? `status ${answer.status}`);
  }
  return told;
}

export const id = (text) => encodeURIComponent(text).replaceAll(".", "%2E");

/** A path with those of the parameters that say something. */
export function path(place, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  return query.size ? `${place}?${query}` : place;
}
