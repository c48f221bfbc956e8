// Every view by the name in the address: `#/seeds`, `#/seed/<id>`.

import { batches, search } from "/dashboard/view-batches.js";
import { cluster, queues } from "/dashboard/view-cluster.js";
import { dead, letter } from "/dashboard/view-dead.js";
import { overview } from "/dashboard/view-overview.js";
import { seed, seeds } from "/dashboard/view-seeds.js";
import { worker, workers } from "/dashboard/view-workers.js";

/**
 * A view is `{title(query), reads(query), show(parts, query, summary), tick?(parts)}`: what it polls, and what
 * it makes of that. `show` is called with each change and once a second; the page changes only where it differs.
 */
export const VIEWS = { "": overview, seeds, seed, workers, worker, batches, queues, dead, letter, cluster, search };
