"""How long a million request rows take to become a stage's numbers. Budget: 10 M in 10 s."""

from __future__ import annotations

import resource
import time

import numpy as np

from app.analysis.objectives import parse_objective
from app.analysis.stages import summarise_stage
from tests.fakes.queues import constant_s, request_rows, stage_facts

ROWS = 1_000_000
RATE_PER_S = 10_000.0


def main() -> None:
    arrivals = constant_s(RATE_PER_S, ROWS / RATE_PER_S)
    rows = request_rows(arrivals, np.random.default_rng(1).exponential(0.01, arrivals.size))
    facts = stage_facts(RATE_PER_S, ROWS / RATE_PER_S, arrivals="constant")
    slo = (parse_objective("latency_ms.p95 < 50"),)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        summarise_stage(rows, None, facts, slo)
        seconds.append(time.perf_counter() - start)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{ROWS:,} rows: median {np.median(seconds):.2f} s of 5, process peak {peak_gib:.2f} GiB")


if __name__ == "__main__":
    main()
