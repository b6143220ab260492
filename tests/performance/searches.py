"""How often a search ends within 5 % of the true max rate, on simulated servers in virtual time.

With `--truth`, it prints the long-run metrics of the SLOs at the known limit of each server instead.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from app.records.search import SearchSpec
from app.session.rate_search import find_max_rate
from tests.fakes.known_limits import KNOWN_SERVERS, KnownServer, VirtualRunner

_WITHIN = 0.05
_MAX_RESPONSE_S = 60.0
_PART = 2_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.searches", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--holds", type=float, nargs="+", default=[30.0], metavar="SECONDS")
    parser.add_argument("--servers", nargs="+", default=[server.name for server in KNOWN_SERVERS], metavar="NAME")
    parser.add_argument("--truth", action="store_true")
    arguments = parser.parse_args()
    for server in (known for known in KNOWN_SERVERS if known.name in arguments.servers):
        if arguments.truth:
            print(f"{server.name:16} {_truth(server)}", flush=True)
            continue
        for hold_s in arguments.holds:
            print(f"{server.name:16} {hold_s:4.0f} s holds: {_searches(server, hold_s, arguments.seeds)}", flush=True)


def _searches(server: KnownServer, hold_s: float, seeds: int) -> str:
    errors, probes, start_s = [], [], time.perf_counter()
    search = SearchSpec(step_duration_s=hold_s, max_duration_s=None)
    for seed in range(seeds):
        outcome = find_max_rate(VirtualRunner(server, seed), search, server.slo, _MAX_RESPONSE_S, time.monotonic_ns)
        errors.append((outcome.max_rate_per_s or np.nan) / server.limit_per_s - 1)
        probes.append(outcome.probe_count)
    within_percent, spent_s = 100 * np.mean(np.abs(errors) <= _WITHIN), time.perf_counter() - start_s
    low, median, high = (100 * float(statistic(errors)) for statistic in (np.nanmin, np.nanmedian, np.nanmax))
    return (
        f"{within_percent:5.1f} % within 5 %, median {median:+.1f} %, from {low:+.1f} % to {high:+.1f} %, "
        f"{np.isnan(errors).sum()} without an answer; {np.mean(probes):.1f} probes, at most {max(probes)}, "
        f"{spent_s:.0f} s"
    )


def _truth(server: KnownServer, parts: int = 20) -> str:
    random = np.random.default_rng(2026)
    runs = [server.respond(np.cumsum(random.exponential(1 / server.limit_per_s, _PART)), random) for _ in range(parts)]
    texts = [f"{parts * _PART:,} arrivals at {server.limit_per_s:g}/s"]
    for name in ("latency_s", "ttft_s", "itl_s"):
        if (times_s := getattr(runs[0], name)) is not None:
            pooled = np.concatenate([getattr(run, name) for run in runs])
            texts.append(f"{name.removesuffix('_s')} p95 {1e3 * np.quantile(pooled, 0.95):.5g} ms")
            assert times_s.size
    failed = [run.failed for run in runs if run.failed is not None]
    return ", ".join([*texts, f"errors {100 * np.mean(failed):.3f} %"] if failed else texts)


if __name__ == "__main__":
    main()
