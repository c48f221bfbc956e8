// The dead letters, and the page of one.

import { keepLetters } from "/dashboard/actions.js";
import { id as quoted, path } from "/dashboard/api.js";
import { h } from "/dashboard/dom.js";
import { brief, inWords, many, number } from "/dashboard/format.js";
import { PAGE, absent, act, age, card, note, pages, seedLink, table } from "/dashboard/parts.js";

const buttons = (letter) => [
  act("retry-dead", letter.id, "Retry"),
  act("drop-dead", letter.id, "Drop", { tone: "danger-quiet" }),
];

const COLUMNS = [
  {
    label: "Dead letter",
    cell: (letter) =>
      h("a", { href: `#/letter/${encodeURIComponent(letter.id)}`, title: letter.id }, h("code", {}, brief(letter.id))),
  },
  { label: "Kind", cell: (letter) => letter.kind },
  { label: "Seed", cell: (letter) => (letter.seed ? seedLink(letter.seed) : h("span", { class: "faint" }, "none")) },
  { label: "Items", kind: "number", cell: (letter) => number(letter.count) },
  { label: "Failures", kind: "number", cell: (letter) => number(letter.history.length) },
  { label: "Reason", kind: "wide", cell: (letter) => letter.reason },
  { label: "Died", kind: "number", cell: (letter) => age(letter.at) },
  { label: "Actions", kind: "actions", cell: buttons },
];

export const dead = {
  title: () => "Dead letters",
  reads: (query) => [path("/dead", { offset: query.offset, limit: PAGE })],
  show([list], query) {
    if (list?.status === 200) keepLetters(list.body.dead);
    return [
      h(
        "p",
        { class: "lead" },
        "Batches that failed too often, and messages that are not readable. Each is kept until you retry or drop it.",
      ),
      h("div", { class: "tools" }, list?.status === 200 && pages("dead", query, list.body.count.totalItems)),
      list?.status === 200 && list.body.dead.length
        ? table("Dead letters, the oldest first", COLUMNS, list.body.dead)
        : absent(list, "There are no dead letters."),
    ];
  },
};

function item(one, place) {
  const { id, ...rest } = typeof one === "object" && one !== null ? one : { id: String(one) };
  const more = Object.keys(rest).length ? JSON.stringify(rest) : "";
  return h(
    "tr",
    { "data-key": String(place) },
    h("th", { scope: "row" }, h("code", {}, id ?? "–")),
    h("td", { class: "wide" }, more && h("code", {}, more)),
  );
}

export const letter = {
  title: (query) => `Dead letter ${brief(query.id)}`,
  reads: (query) => [`/dead/${quoted(query.id)}`],
  show([one]) {
    if (one?.status === 404)
      return [note("plain", "It is no longer here: it was tried again or dropped. ", h("a", { href: "#/dead" }, "All dead letters"))];
    if (one?.status !== 200) return [absent(one)];
    const found = one.body;
    keepLetters([found]);
    const items = found.items ?? [];
    return [
      h(
        "div",
        { class: "tools" },
        h("span", {}, found.kind),
        found.seed && seedLink(found.seed),
        h("span", { class: "faint" }, `died ${age(found.at)}`),
        h("span", { class: "grow" }),
        buttons(found),
      ),
      card("Reason", h("p", {}, found.reason)),
      card(
        "History",
        found.history.length
          ? h(
              "ol",
              { class: "lines" },
              found.history.map((line) => h("li", {}, inWords(line))),
            )
          : h("p", { class: "empty" }, "No delivery of it failed."),
      ),
      items.length > 0 &&
        card(
          many(items.length, "item"),
          h(
            "div",
            { class: "scroll", tabindex: "0", role: "region", "aria-label": "Items" },
            h(
              "table",
              {},
              h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Id"), h("th", { scope: "col" }, "More"))),
              h("tbody", {}, items.map(item)),
            ),
          ),
        ),
      found.body && card("Body", h("pre", { tabindex: "0" }, found.body)),
    ].filter(Boolean);
  },
};
