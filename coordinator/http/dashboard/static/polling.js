// Polling: while the page is visible, each read of the view is repeated every two seconds.

import { headers } from "/dashboard/api.js";

const API = "/dashboard/api";
const PERIOD = 2000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 8000;
const TIMEOUT = 30_000;

const wait = (duration) => new Promise((done) => setTimeout(done, duration));

/** Polls the reads of one view at a time. */
export class Poller {
  #listener;
  #reads = [];
  #abort = new AbortController();
  #shown = "";

  /** `listener` has `onPart(place, part)`, `onState("live" | "waiting" | "paused", why)` and `onUnauthorized()`. */
  constructor(listener) {
    this.#listener = listener;
    document.addEventListener("visibilitychange", () => this.#restart());
    addEventListener("online", () => this.#restart());
  }

  watch(reads) {
    this.#reads = reads;
    this.#restart();
  }

  #restart() {
    this.#abort.abort();
    this.#abort = new AbortController();
    if (!this.#reads.length) return;
    if (document.hidden) this.#show("paused");
    else this.#reads.forEach((read, place) => this.#poll(place, read, this.#abort.signal));
  }

  async #poll(place, read, signal) {
    let last = null;
    let pause = FIRST_PAUSE;
    while (!signal.aborted) {
      let why = "the coordinator does not answer";
      try {
        const [status, text] = await this.#ask(read, signal, last === null);
        if (signal.aborted) return;
        if (status === 401) {
          this.#listener.onUnauthorized();
          return;
        }
        const body = JSON.parse(text);
        why = status === 429 ? body.message : "";
        if (!why && last !== text) this.#listener.onPart(place, { status, body });
        last = text;
      } catch {
        if (signal.aborted) return;
      }
      this.#show(why ? "waiting" : "live", why);
      await wait(why ? pause : PERIOD);
      pause = why ? Math.min(LONGEST_PAUSE, pause * 2) : FIRST_PAUSE;
    }
  }

  /** The first answer after a change of the view, or after an action, must not be an old one. */
  async #ask(read, signal, first) {
    const answer = await fetch(read.startsWith("/dashboard/") ? read : API + read, {
      headers: first ? { ...headers(), "Cache-Control": "no-cache" } : headers(),
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
    });
    return [answer.status, await answer.text()];
  }

  #show(state, why = "") {
    if (this.#shown === state + why) return;
    this.#shown = state + why;
    this.#listener.onState(state, why);
  }
}
