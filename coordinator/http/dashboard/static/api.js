// Calls of the API. The token is kept for this tab only, and sent in a header, which no browser adds by itself.

const PREFIX = "/aspire_api/manager";
const KEPT = "coordinator-token";

export const token = () => sessionStorage.getItem(KEPT);
export const keepToken = (secret) => sessionStorage.setItem(KEPT, secret);
export const forgetToken = () => sessionStorage.removeItem(KEPT);
export const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

/** A response that is not a success. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Call a path of the API or of the dashboard; return the JSON of a success, or throw a Refusal. */
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
    throw new Refusal(0, "the coordinator does not answer, so this may be done all the same");
  }
  const content = await answer.json();
  if (!answer.ok) {
    const reason = content.results?.find((one) => one.status !== 200)?.message;
    throw new Refusal(answer.status, reason ?? content.message ?? `status ${answer.status}`);
  }
  return content;
}

export const id = (text) => encodeURIComponent(text).replaceAll(".", "%2E");

/** Return a path with all parameters that are not empty. */
export function path(place, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  return query.size ? `${place}?${query}` : place;
}
