// Work queues, coordinators and the broker.

import { h } from "/dashboard/dom.js";
import { bytes, many, number } from "/dashboard/format.js";
import { absent, age, card, note, pill, table, tags } from "/dashboard/parts.js";

const QUEUES = [
  { label: "Work queue", cell: (queue) => h("code", {}, queue.name) },
  { label: "Tags", cell: (queue) => tags(queue.tags) },
  { label: "Ready", kind: "number", cell: (queue) => number(queue.ready) },
  { label: "Unacked", kind: "number", cell: (queue) => number(queue.unacked) },
  { label: "Consumers", kind: "number", cell: (queue) => number(queue.consumers) },
  { label: "Workers with the tags", kind: "number", cell: (queue) => number(queue.eligible) },
  {
    label: "Warning",
    kind: "wide",
    cell: (queue) =>
      queue.warning ? h("strong", { class: "why" }, queue.warning) : h("span", { class: "faint" }, "none"),
  },
];

/** Make notes of the warnings of work queues. */
export const queueWarnings = (part) =>
  part?.status === 200
    ? part.body.queues
        .filter((queue) => queue.warning)
        .map((queue) => note("bad", h("strong", {}, queue.name), `: ${queue.warning}`))
    : [];

export const queues = {
  title: () => "Work queues",
  reads: () => ["/queue?limit=200"],
  show: ([list]) => [
    h("p", { class: "lead" }, "One queue for each set of tags. Figures are in batches."),
    queueWarnings(list),
    list?.status === 200 && list.body.queues.length
      ? table("Work queues", QUEUES, list.body.queues, {
          key: (queue) => queue.name,
          rowClass: (queue) => (queue.warning ? "warned" : ""),
        })
      : absent(list, "There is no work queue yet."),
  ],
};

const COORDINATORS = [
  {
    label: "Coordinator",
    cell: (one) => [h("code", {}, one.instance), " ", one.you && pill("you see this one", "info")],
  },
  { label: "Host", cell: (one) => one.host },
  { label: "Version", cell: (one) => one.version },
  { label: "Seeds", kind: "number", cell: (one) => number(one.seeds) },
  {
    label: "Lag",
    kind: "number",
    cell: (one) => h("span", { class: one.lag > 0.5 ? "age old" : "" }, `${Math.round(one.lag * 1000)} ms`),
  },
  { label: "Up for", kind: "number", cell: (one) => age(one.since).replace(" ago", "") },
];

const NODES = [
  { label: "Node", cell: (node) => h("code", {}, node.name) },
  { label: "State", cell: (node) => (node.running ? pill("running", "good") : pill("down", "bad")) },
  { label: "Memory", kind: "number", cell: (node) => bytes(node.memory) },
  { label: "Memory alarm", cell: (node) => alarm(node.memoryAlarm) },
  { label: "Disk free", kind: "number", cell: (node) => bytes(node.diskFree) },
  { label: "Disk alarm", cell: (node) => alarm(node.diskAlarm) },
];

const alarm = (is) => (is ? pill("alarm", "bad") : h("span", { class: "faint" }, "none"));

function versions(list) {
  const found = new Set(list.map((one) => one.version));
  return (
    found.size > 1 &&
    note(
      "warn",
      `The coordinators run ${many(found.size, "version")}: ${[...found].join(", ")}. Upgrade the older ones soon.`,
    )
  );
}

export const cluster = {
  title: () => "Cluster",
  reads: () => ["/coordinator", "/broker"],
  show([coordinators, broker]) {
    const known = broker?.status === 200 ? broker.body : null;
    return [
      known?.blocked &&
        note(
          "bad",
          h("strong", {}, "The broker is blocked. "),
          "It has an alarm and takes no messages: nothing is dispatched, and actions are refused.",
        ),
      coordinators?.status === 200 && versions(coordinators.body.coordinators),
      card(
        "Coordinators",
        coordinators?.status === 200
          ? table("Coordinators", COORDINATORS, coordinators.body.coordinators, { key: (one) => one.instance })
          : absent(coordinators),
      ),
      card(
        "Broker",
        known &&
          h(
            "p",
            {},
            `${known.product ?? "A broker"} ${known.version ?? ""}`,
            known.known === false && h("span", { class: "faint" }, " (its management API does not answer)"),
          ),
        known ? table("Nodes of the broker", NODES, known.nodes, { key: (node) => node.name }) : absent(broker),
      ),
    ].filter(Boolean);
  },
};
