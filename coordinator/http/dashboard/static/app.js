// The page: which view it shows, what it polls, and what keys and buttons do.

import { carryOut } from "/dashboard/actions.js";
import { call, forgetToken, keepToken, token } from "/dashboard/api.js";
import { say } from "/dashboard/ask.js";
import { h, morph } from "/dashboard/dom.js";
import { number, setClock } from "/dashboard/format.js";
import { Poller } from "/dashboard/polling.js";
import { VIEWS } from "/dashboard/views.js";

const MENU = [
  ["", "Overview"],
  ["seeds", "Seeds"],
  ["workers", "Workers"],
  ["batches", "Batches in hand"],
  ["queues", "Work queues"],
  ["dead", "Dead letters"],
  ["cluster", "Cluster"],
];
const TYPING = 250;
const TICK = 1000;
const SUMMARY = "/dashboard/summary";

const main = document.getElementById("main");
const state = { view: VIEWS[""], name: "", query: {}, parts: [], summary: undefined, isOpen: false };

const poller = new Poller({
  onPart(place, part) {
    if (place === 0) state.summary = part;
    else state.parts[place - 1] = part;
    show();
  },
  onState(live, why) {
    const link = document.getElementById("link");
    link.className = `pill ${live === "live" ? "good" : live === "paused" ? "plain" : "bad"}`;
    link.textContent = { live: "live", waiting: "not connected", paused: "paused" }[live];
    link.title = why;
    document.body.classList.toggle("stale", live === "waiting");
  },
  onUnauthorized: () => askForToken("This token is not valid any more."),
});

/** Parse `#/seed/a%2Fb?x=1` into a view's name and its query, with the id in it. */
function readPlace() {
  const [place, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = place.split("/");
  const query = Object.fromEntries(new URLSearchParams(search));
  if (rest.length) query.id = decodeURIComponent(rest.join("/"));
  return [VIEWS[name] ? name : "", query];
}

function open() {
  const before = state.name + (state.query.id ?? "");
  [state.name, state.query] = readPlace();
  state.view = VIEWS[state.name];
  state.parts = [];
  poller.watch([SUMMARY, ...state.view.reads(state.query)]);
  if (state.name !== "search") document.getElementById("q").value = "";
  const title = state.view.title(state.query);
  document.title = `${title} – Batch coordinator`;
  if (before !== state.name + (state.query.id ?? "")) {
    main.replaceChildren();
    scrollTo(0, 0);
    if (state.isOpen) main.focus({ preventScroll: true });
  } else {
    for (const field of main.querySelectorAll("[data-filter]")) {
      if (field !== document.activeElement) field.value = state.query[field.dataset.filter] ?? "";
    }
    return; // keep what is shown until the new part arrives
  }
  state.isOpen = true;
  show();
}

function show() {
  const { view, query, parts, summary } = state;
  morph(main, h("main", {}, h("h1", {}, view.title(query)), view.show(parts, query, summary)));
  morph(document.getElementById("nav"), h("nav", {}, MENU.map(entry)));
}

function entry([name, label]) {
  const summary = state.summary?.status === 200 ? state.summary.body : null;
  const count = {
    seeds: summary && summary.seeds.running + summary.seeds.released,
    workers: summary?.workers.known,
    batches: summary?.held,
    dead: summary?.dead,
  }[name];
  const section = { seed: "seeds", worker: "workers", letter: "dead" }[state.name] ?? state.name;
  return h(
    "a",
    { href: `#/${name}`, "aria-current": section === name ? "page" : null },
    h("span", {}, label),
    typeof count === "number" && h("span", { class: name === "dead" && count ? "count bad" : "count" }, number(count)),
  );
}

function filterBy(name, value) {
  const query = { ...state.query, [name]: value || undefined, offset: undefined };
  delete query.id;
  for (const key of Object.keys(query)) if (query[key] === undefined) delete query[key];
  const search = new URLSearchParams(query).toString();
  history.replaceState(null, "", `#/${state.name}${search ? `?${search}` : ""}`);
  open();
}

function askForToken(why) {
  poller.watch([]);
  state.isOpen = false; // otherwise the next tick would replace the form by the view
  state.parts = [];
  const form = h(
    "form",
    { class: "token card" },
    h("h1", {}, "This coordinator asks for a token"),
    h("p", {}, why),
    h(
      "label",
      {},
      "Token",
      h("input", { type: "password", name: "token", required: true, autocomplete: "off", placeholder: "bct_…" }),
    ),
    h(
      "p",
      { class: "faint" },
      "To read, the token needs the role operator; to act, the role manager. It is kept in this tab until you close the tab.",
    ),
    h("button", { type: "submit", class: "primary" }, "Continue"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(form.elements.token.value.trim());
    begin();
  });
  main.replaceChildren(form);
  form.elements.token.focus();
}

async function begin() {
  try {
    const who = await call("GET", "/dashboard/who");
    setClock(who.at);
    const may = (role) => who.roles.includes(role) || who.roles.includes("administrator");
    document.body.dataset.manager = may("manager") ? "yes" : "no";
    document.getElementById("leave").hidden = !token();
    if (!may("operator")) askForToken(`The token ${who.name} cannot read: it has the role ${who.roles.join(", ")}.`);
    else {
      state.isOpen = false;
      state.name = null;
      open();
    }
  } catch (error) {
    if (error.status === 401)
      askForToken(
        token() ? "This token is not valid." : "Make one with: coordinator token create NAME --role operator",
      );
    else {
      main.replaceChildren(h("p", { class: "note bad" }, `${error.message}. Trying again.`));
      setTimeout(begin, 2000);
    }
  }
}

let typing = null;
document.addEventListener("input", (event) => {
  const { filter } = event.target.dataset;
  if (filter === undefined) return;
  clearTimeout(typing);
  typing = setTimeout(() => filterBy(filter, event.target.value), event.target.tagName === "SELECT" ? 0 : TYPING);
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) carryOut(button, () => poller.watch([SUMMARY, ...state.view.reads(state.query)]));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, dialog"))
    return;
  event.preventDefault();
  document.getElementById("q").focus();
});
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("q").value.trim();
  if (text) location.hash = `#/search?q=${encodeURIComponent(text)}`;
});
document.getElementById("leave").addEventListener("click", () => {
  forgetToken();
  say("The token is forgotten.", "plain");
  begin();
});
addEventListener("hashchange", open);
setInterval(() => {
  if (state.isOpen && !document.hidden && state.parts.length) {
    state.view.tick?.(state.parts);
    show();
  }
}, TICK);
begin();
