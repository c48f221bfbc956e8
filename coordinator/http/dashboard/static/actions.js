// Actions: each reads the current state, says in numbers what it will do and asks, does it, and says what it did.

import { call, id as quoted } from "/dashboard/api.js";
import { ask, say, asList } from "/dashboard/ask.js";
import { h } from "/dashboard/dom.js";
import { many, number } from "/dashboard/format.js";
import * as forecast from "/dashboard/forecast.js";
import { policyForm, readPolicies } from "/dashboard/policies.js";

const getSeed = (id) => call("GET", `/seed/${quoted(id)}`);

/** What an action would do now, as the coordinator says. */
const foretell = async (action, id) => asList(forecast.effects(await call("GET", `/dry-run/${action}/${quoted(id)}`)));

async function releaseSeed(id) {
  const body = [h("p", {}, "As of now:"), await foretell("release/seed", id)];
  if (!(await ask({ title: `Release seed ${id}?`, body, confirm: "Release seed" }))) return;
  const [result] = (await call("POST", `/release/seed/${quoted(id)}`)).results;
  const unanswered = result.unanswered?.length
    ? ` ${many(result.unanswered.length, "coordinator")} did not answer.`
    : "";
  say(
    `Released ${id}: ${many(result.returned, "item")} came back, ` +
      `${number(result.held)} still in hand. Epoch ${number(result.epoch)}.${unanswered}`,
    unanswered ? "warn" : "good",
  );
}

async function resumeSeed(id) {
  const seed = await getSeed(id);
  if (!(await ask({ title: `Resume seed ${id}?`, body: asList(forecast.resumeSeed(seed)), confirm: "Resume seed" })))
    return;
  await call("POST", `/resume/seed/${quoted(id)}`);
  say(`Resumed ${id}: ${many(seed.counts.available, "item")} may be handed out again.`);
}

async function setSeed(id) {
  const seed = await getSeed(id);
  const form = await ask({ title: `Priority and policies of ${id}`, body: policyForm(seed), confirm: "Apply" });
  if (!form) return;
  const wanted = readPolicies(form);
  const changes = forecast.changeSeed(seed, wanted);
  if (!changes.length) {
    say("You changed nothing.", "plain");
    return;
  }
  const queued = seed.counts.queued;
  const body = [
    asList(changes),
    queued > 0 && h("p", { class: "faint" }, `${many(queued, "item")} in unsent batches go out with the old policies.`),
  ].filter(Boolean);
  if (!(await ask({ title: `Change seed ${id}?`, body, confirm: `Make ${many(changes.length, "change")}` }))) return;
  await call("PUT", `/seed/${quoted(id)}`, wanted);
  say(`Changed ${id}: ${changes.map(([what, then]) => `${what} ${then}`).join(" ")}`);
}

async function releaseWorker(id) {
  const body = [h("p", {}, "As of now:"), await foretell("release/worker", id)];
  if (!(await ask({ title: `Release worker ${id}?`, body, confirm: "Release worker", danger: true }))) return;
  const [result] = (await call("POST", `/release/worker/${quoted(id)}`)).results;
  say(`Released ${id}: ${many(result.batches, "batch", "batches")} it held go to others.`);
}

async function drainWorker(id) {
  const body = await foretell("drain/worker", id);
  if (!(await ask({ title: `Drain worker ${id}?`, body, confirm: "Drain worker" }))) return;
  const [result] = (await call("POST", `/drain/worker/${quoted(id)}`)).results;
  say(`${id} was asked to drain: it finishes ${many(result.batches, "batch", "batches")} and takes no more.`);
}

const letters = new Map();

/** Keep the listed dead letters for the dialogs of their buttons. */
export function keepLetters(list) {
  letters.clear();
  for (const letter of list) letters.set(letter.id, letter);
}

const nameOf = (letter) =>
  `${letter.count ? many(letter.count, "item") : `1 ${letter.kind}`}${letter.seed ? ` of ${letter.seed}` : ""}`;

async function retryDead(id) {
  const letter = letters.get(id);
  if (!(await ask({ title: "Try this dead letter again?", body: asList(forecast.retryDead(letter)), confirm: "Retry" })))
    return;
  await call("POST", `/dead/${quoted(id)}/retry`);
  say(`Sent again: ${nameOf(letter)}.`);
}

async function dropDead(id) {
  const letter = letters.get(id);
  if (
    !(await ask({
      title: "Drop this dead letter?",
      body: asList(forecast.dropDead(letter)),
      confirm: "Drop for good",
      danger: true,
    }))
  )
    return;
  await call("DELETE", `/dead/${quoted(id)}`);
  say(`Dropped: ${nameOf(letter)}.`);
}

const ACTIONS = {
  "release-seed": releaseSeed,
  "resume-seed": resumeSeed,
  "set-seed": setSeed,
  "release-worker": releaseWorker,
  "drain-worker": drainWorker,
  "retry-dead": retryDead,
  "drop-dead": dropDead,
};

/** Carry out the action of a button, then call `after`, even if the action failed. */
export async function carryOut(button, after) {
  if (button.getAttribute("aria-disabled") === "true") {
    say(`Not done: ${button.title}.`, "bad");
    return;
  }
  if (button.dataset.busy !== undefined) return;
  button.dataset.busy = "";
  try {
    await ACTIONS[button.dataset.do](button.dataset.id);
  } catch (error) {
    say(`Not done: ${error.message}.`, "bad");
  } finally {
    delete button.dataset.busy;
    after();
  }
}
