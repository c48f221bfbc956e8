// A worker that is nothing but Node's stock AMQP client. It takes batches from the queue `work` and writes a line of
// JSON for each. The first one it rejects, the second it gives back without fault, all others it acks.
//
//     node worker.js URL

"use strict";

const amqp = require("amqplib");

const PREFETCH = 3;

async function main(url) {
  const connection = await amqp.connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.prefetch(PREFETCH);
  const met = new Set();

  async function take(message) {
    const batch = JSON.parse(message.content.toString());
    const { headers, messageId, contentType } = message.properties;
    let done = "acked";
    if (met.size === 0) {
      done = "rejected";
      channel.reject(message, false);
    } else if (met.size === 1 && !met.has(batch.id)) {
      done = "returned";
      const options = { headers: { ...headers, reason: "drain" }, messageId, contentType, persistent: true };
      await new Promise((resolve, fail) => {
        channel.publish("returns", "", message.content, options, (error) => (error ? fail(error) : resolve()));
      });
      channel.ack(message);
    } else {
      channel.ack(message);
    }
    met.add(batch.id);
    const { seed, epoch, attempt, count } = headers;
    process.stdout.write(`${JSON.stringify({ done, messageId, headers: { seed, epoch, attempt, count }, batch })}\n`);
  }

  // One after another: a batch that waits for a confirm must not be overtaken.
  let last = Promise.resolve();
  await channel.consume("work", (message) => {
    last = last.then(() => take(message));
  });
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
