"""How lean and how punctual the load worker is: `python -m tests.performance.load_worker [--full]`.

The worker has one core and its target another one, if there are two. Runs of the peers are interleaved, with the same
target. Then come Poisson arrivals, as the worker sent them and as a server received them, and last a 60 s stage with a
freeze of 5 s. `--full` takes longer stages.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from loadgen.process import LoadProcess
from loadgen.records import (
    REQUEST_SCHEMA,
    Arrivals,
    ClosedArrivals,
    Endpoint,
    OpenArrivals,
    StageEnded,
    StageLoad,
    StagePlan,
)
from loadgen.reference.scripted import Script, ScriptedServer
from loadgen.workloads import HttpWorkload
from tests.performance.http_peers import fast_http_user, wrk
from tests.performance.targets import CLIENT_CORE, logging_server, nginx, null_server, on_core

REPEATS = 3
CLIENTS = 32
USERS = 16
"""Users of FastHttpUser, which more users make slower."""
DISPERSION_S = 20.0
WINDOW_S = 0.005


class Punctuality(NamedTuple):
    """`achieved` is the share of the arrivals that were sent before the end of the stage."""

    achieved: float
    lag_p50_us: float
    lag_p99_us: float
    cpu_percent: float
    cpu_us_per_request: float


def run_stage(
    load: LoadProcess, arrivals: Arrivals, duration_s: float, seed: int = 1
) -> tuple[StageEnded, pd.DataFrame]:
    batches: list[pa.RecordBatch] = []
    plan = StagePlan(0, "bench", StageLoad(arrivals, duration_s), seed, drain_s=20)
    ended = load.run_stage(plan, batches.append, lambda _: None, lambda _: True)
    rows: pd.DataFrame = pa.Table.from_batches(batches, REQUEST_SCHEMA).to_pandas()
    failed = rows["error"].notna().sum()
    assert failed == 0, f"{failed} requests failed: {rows['error'].value_counts().to_dict()}"
    return ended, rows


def poisson(rate_per_s: float) -> OpenArrivals:
    return OpenArrivals("poisson", ((0.0, rate_per_s),))


def measure_closed_loop(load: LoadProcess, seconds: float) -> tuple[float, float]:
    ended, rows = run_stage(load, ClosedArrivals(CLIENTS), seconds)
    return len(rows) / seconds, 1e6 * ended.cpu_s / len(rows)


def measure_punctuality(load: LoadProcess, rate_per_s: float, seconds: float, seed: int) -> Punctuality:
    ended, rows = run_stage(load, poisson(rate_per_s), seconds, seed)
    lag_us = (rows["sent_ns"] - rows["scheduled_ns"]) / 1e3
    return Punctuality(
        achieved=float((rows["sent_ns"] < ended.start_ns + seconds * 1e9).mean()),
        lag_p50_us=float(np.percentile(lag_us, 50)),
        lag_p99_us=float(np.percentile(lag_us, 99)),
        cpu_percent=100 * ended.cpu_s / seconds,
        cpu_us_per_request=1e6 * ended.cpu_s / len(rows),
    )


def medians(runs: list[tuple[float, ...]]) -> list[float]:
    """The median of each number over the repeats, which other work disturbs least."""
    return [median(column) for column in zip(*runs, strict=True)]


def bench_closed(name: str, url: str, load: LoadProcess, seconds: float) -> None:
    contenders: dict[str, Callable[[], tuple[float, float]]] = {"sizewise": lambda: measure_closed_loop(load, seconds)}
    if (executable := shutil.which("wrk")) is not None:
        contenders["wrk"] = lambda: wrk(executable, url, CLIENTS, seconds)
    contenders["FastHttpUser"] = lambda: fast_http_user(url, USERS, seconds)
    runs: dict[str, list[tuple[float, ...]]] = {contender: [] for contender in contenders}
    for _ in range(REPEATS):  # interleaved, so that a slow minute affects all of them
        for contender, run in contenders.items():
            runs[contender].append(run())
    own_per_s = medians(runs["sizewise"])[0]
    for contender in contenders:
        per_s, cpu_us = medians(runs[contender])
        ratio = "" if contender == "sizewise" else f"  sizewise: {own_per_s / per_s:5.2f} ×"
        print(f"{name:6} closed  {contender:13}{per_s:9,.0f}/s  {cpu_us:6.1f} µs CPU each{ratio}")


def bench_open(name: str, load: LoadProcess, seconds: float) -> None:
    for rate in (2_000, 20_000):
        run = Punctuality(*medians([measure_punctuality(load, rate, seconds, seed) for seed in range(REPEATS)]))
        print(
            f"{name:6} {rate:6,}/s  achieved {run.achieved:7.2%}  lag p50 {run.lag_p50_us:6.0f} µs"
            f"  p99 {run.lag_p99_us:7.0f} µs  CPU {run.cpu_percent:5.1f} %  {run.cpu_us_per_request:.1f} µs each"
        )


def bench_target(name: str, url: str, seconds: float) -> None:
    with on_core(CLIENT_CORE):
        load = LoadProcess()
    with load:
        load.configure(Endpoint((url,)), HttpWorkload())
        run_stage(load, ClosedArrivals(CLIENTS), 1)  # connections made, caches warm
        bench_closed(name, url, load, seconds)
        bench_open(name, load, seconds)


def bench_dispersion() -> None:
    """The variance of the arrivals in a window over their mean: 1 of a Poisson process.

    One stall of a tenth of a second anywhere on the machine decides the variance of the whole, so that of each second
    is taken, and the median of them.
    """
    for rate in (2_000, 20_000):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "received.txt"
            with on_core(CLIENT_CORE):
                load = LoadProcess()
            # the log is written when the server exits
            with logging_server(log) as url, load:
                load.configure(Endpoint((url,)), HttpWorkload())
                run_stage(load, ClosedArrivals(CLIENTS), 0.5)
                ended, rows = run_stage(load, poisson(rate), DISPERSION_S)
            received = np.loadtxt(log, dtype=np.int64)
        columns = {
            "scheduled": rows["scheduled_ns"].to_numpy(),
            "sent": rows["sent_ns"].to_numpy(),
            "received": received,
        }
        shown = [f"{label} {dispersion(times_ns, ended.start_ns)}" for label, times_ns in columns.items()]
        print(f"{rate:6,}/s  dispersion in {1e3 * WINDOW_S:g} ms: {', '.join(shown)}")


def dispersion(times_ns: npt.NDArray[np.int64], start_ns: int) -> str:
    return "{:.2f} ({:.2f} overall)".format(*dispersion_indices(times_ns, start_ns))


def dispersion_indices(times_ns: npt.NDArray[np.int64], start_ns: int) -> tuple[float, float]:
    """The median of the dispersion indices of all seconds, and the index of the whole stage."""
    span_ns = (start_ns, start_ns + DISPERSION_S * 1e9)
    counts, _ = np.histogram(times_ns, bins=round(DISPERSION_S / WINDOW_S), range=span_ns)
    seconds = counts.reshape(round(DISPERSION_S), -1)
    return float(np.median(seconds.var(axis=1) / seconds.mean(axis=1))), float(counts.var() / counts.mean())


def bench_freeze() -> None:
    """500 of 6,000 arrivals wait a uniform 0 to 5 s, and all take 50 ms."""
    script = Script(delay_s=0.05, freeze_after_s=20, freeze_s=5)
    with ScriptedServer(script) as server, LoadProcess() as load:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        _, rows = run_stage(load, OpenArrivals("constant", ((0.0, 100.0),)), 60)
    p95_ms, p99_ms = np.percentile((rows["end_ns"] - rows["scheduled_ns"]) / 1e6, [95, 99])
    print(f"freeze of 5 s in 60 s: p95 {p95_ms:.0f} ms (2050 stated), p99 {p99_ms:.0f} ms (4450 stated)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="stages of 20 s instead of 2")
    seconds = 20.0 if parser.parse_args().full else 2.0
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians of {REPEATS} × {seconds:g} s")
    with null_server() as url:
        bench_target("null", url, seconds)
    if (executable := shutil.which("nginx")) is not None:
        with nginx(executable) as url:
            bench_target("nginx", url, seconds)
    bench_dispersion()
    bench_freeze()
    print(
        "must: closed loop ≥ 0.6 × wrk and ≥ 5 × FastHttpUser; 2,000/s lag p50 ≤ 60 µs, CPU ≤ 15 %, dispersion as"
        " received 0.9 to 1.1; 20,000/s achieved ≥ 99 %, lag p99 ≤ 5 ms"
    )


if __name__ == "__main__":
    main()
