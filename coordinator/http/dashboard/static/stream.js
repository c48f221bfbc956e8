// The stream of what changes. Read by fetch, for an EventSource could send no token.

import { headers } from "/dashboard/api.js";
import { setClock } from "/dashboard/format.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 8000;
const SILENCE = 25_000;

/**
 * Watches reads of the API, one view's at a time.
 *
 * A hidden tab watches nothing: a browser opens six connections to one server, and ten tabs must not use them up.
 */
export class Stream {
  #listener;
  #reads = [];
  #abort = null;
  #pause = FIRST_PAUSE;
  #timer = null;
  #told = "";

  /** `listener` has `onParts(parts)`, `onState("live" | "waiting" | "paused", why)` and `onUnauthorized()`. */
  constructor(listener) {
    this.#listener = listener;
    document.addEventListener("visibilitychange", () => this.#restart());
    addEventListener("online", () => this.#restart());
  }

  watch(reads) {
    this.#reads = reads;
    this.#pause = FIRST_PAUSE;
    this.#restart();
  }

  stop() {
    this.#reads = [];
    this.#restart();
  }

  #restart() {
    this.#abort?.abort();
    clearTimeout(this.#timer);
    if (!this.#reads.length) return;
    if (document.hidden) this.#say("paused");
    else this.#run(new AbortController());
  }

  async #run(abort) {
    this.#abort = abort;
    let status = 0;
    let why = "the coordinator does not answer";
    try {
      const query = new URLSearchParams(this.#reads.map((read) => ["get", read]));
      const answer = await fetch(`/dashboard/live?${query}`, { headers: headers(), signal: abort.signal });
      status = answer.status;
      if (answer.ok) await this.#read(answer.body, abort);
      else why = (await answer.json()).message;
    } catch (error) {
      if (!(error instanceof TypeError) && error.name !== "AbortError") why = error.message;
    }
    if (abort !== this.#abort || !this.#reads.length || document.hidden) return;
    if (status === 401) {
      this.#listener.onUnauthorized();
      return;
    }
    this.#say("waiting", why);
    this.#timer = setTimeout(() => this.#run(new AbortController()), this.#pause);
    this.#pause = Math.min(LONGEST_PAUSE, this.#pause * 2);
  }

  async #read(body, abort) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const silence = setTimeout(() => abort.abort(), SILENCE);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) if (abort === this.#abort) this.#take(event);
    }
  }

  #take(event) {
    this.#pause = FIRST_PAUSE;
    this.#say("live");
    if (!event.startsWith("data: ")) return;
    const { at, parts } = JSON.parse(event.slice("data: ".length));
    setClock(at);
    this.#listener.onParts(parts);
  }

  #say(state, why = "") {
    if (this.#told === state + why) return;
    this.#told = state + why;
    this.#listener.onState(state, why);
  }
}
