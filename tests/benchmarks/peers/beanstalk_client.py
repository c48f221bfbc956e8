"""beanstalkd from one Python client: reserve and delete, as greenstalk's documentation shows them.

beanstalkd writes its log (`-b`), which it syncs each 50 ms by default
(https://github.com/beanstalkd/beanstalkd/blob/master/doc/beanstalkd.1).
"""

from __future__ import annotations

import sys

import greenstalk
import orjson

from tests.benchmarks.payload import ITEMS, Tally, page, text


def main(port: int, jobs: int) -> None:
    """Put all jobs, then take them."""
    tally = Tally.of_environment()
    with greenstalk.Client(("127.0.0.1", port), encoding=None) as client:
        for number in range(jobs):
            client.put(text(page(number, ITEMS)))
        for _ in range(jobs):
            job = client.reserve(timeout=10)
            client.delete(job)
            tally.batch(orjson.loads(job.body))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
