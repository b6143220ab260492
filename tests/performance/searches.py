"""How often a search ends within 5 % of the true max rate, on simulated servers in virtual time.

With `--truth`, instead: what the SLOs' metrics are in the long run at the limit that each server is said to have.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from app.records.search import SearchSpec
from app.session.rate_search import find_max_rate
from tests.fakes.known_limits import KNOWN_SERVERS, KnownServer, VirtualRunner

_WITHIN = 0.05
_LONGEST_ANSWER_S = 60.0
_PART = 2_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.searches", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--holds", type=float, nargs="+", default=[30.0], metavar="SECONDS")
    parser.add_argument("--servers", nargs="+", default=[one.name for one in KNOWN_SERVERS], metavar="NAME")
    parser.add_argument("--truth", action="store_true")
    given = parser.parse_args()
    for server in (one for one in KNOWN_SERVERS if one.name in given.servers):
        if given.truth:
            print(f"{server.name:16} {_truth(server)}", flush=True)
            continue
        for hold_s in given.holds:
            print(f"{server.name:16} {hold_s:4.0f} s holds: {_searches(server, hold_s, given.seeds)}", flush=True)


def _searches(server: KnownServer, hold_s: float, seeds: int) -> str:
    found, probes, began = [], [], time.perf_counter()
    wanted = SearchSpec(step_duration_s=hold_s, max_duration_s=None)
    for seed in range(seeds):
        outcome = find_max_rate(VirtualRunner(server, seed), wanted, server.slo, _LONGEST_ANSWER_S, time.monotonic_ns)
        found.append((outcome.max_rate_per_s or np.nan) / server.limit_per_s - 1)
        probes.append(outcome.probe_count)
    good, spent_s = 100 * np.mean(np.abs(found) <= _WITHIN), time.perf_counter() - began
    low, median, high = (100 * float(one(found)) for one in (np.nanmin, np.nanmedian, np.nanmax))
    return (
        f"{good:5.1f} % within 5 %, median {median:+.1f} %, from {low:+.1f} % to {high:+.1f} %, "
        f"{np.isnan(found).sum()} without an answer; {np.mean(probes):.1f} probes, at most {max(probes)}, "
        f"{spent_s:.0f} s"
    )


def _truth(server: KnownServer, parts: int = 20) -> str:
    random = np.random.default_rng(2026)
    runs = [server.answer(np.cumsum(random.exponential(1 / server.limit_per_s, _PART)), random) for _ in range(parts)]
    said = [f"{parts * _PART:,} arrivals at {server.limit_per_s:g}/s"]
    for name in ("latency_s", "ttft_s", "itl_s"):
        if (times_s := getattr(runs[0], name)) is not None:
            pooled = np.concatenate([getattr(run, name) for run in runs])
            said.append(f"{name.removesuffix('_s')} p95 {1e3 * np.quantile(pooled, 0.95):.5g} ms")
            assert times_s.size
    failed = [run.failed for run in runs if run.failed is not None]
    return ", ".join([*said, f"errors {100 * np.mean(failed):.3f} %"] if failed else said)


if __name__ == "__main__":
    main()
