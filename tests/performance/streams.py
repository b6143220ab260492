"""CPU cost and time error of reading streamed responses: `python -m tests.performance.streams [--full]`.

The worker has one core and the scripted server the other, where there are two. First events that come alone, 200
streams with a token every 20 ms; then events that come many at a time; then what the server played against what the
rows say. `--full` takes longer stages.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from statistics import median

import numpy as np
import numpy.typing as npt
import pandas as pd

from loadgen.process import LoadProcess
from loadgen.records import Arrivals, ClosedArrivals, Endpoint, OpenArrivals, TraceArrivals
from loadgen.reference.openai_events import Generation, build_chunked_stream, build_openai_stream
from loadgen.reference.script import Script, Stream
from loadgen.workloads import FixedLength, OpenAiWorkload, SyntheticPrompts
from tests.performance.load_worker import run_stage
from tests.performance.targets import CLIENT_CORE, on_core, scripted_server

REPEATS = 3
STREAMS = 200
FIRST_S, GAP_S = 0.1, 0.02
TOKENS = 100
BLAST_TOKENS = 5_000
WORKLOAD = OpenAiWorkload("chat", "scripted", SyntheticPrompts(FixedLength(100), FixedLength(TOKENS), unique=100))


@contextlib.contextmanager
def run_worker(stream: Stream) -> Iterator[LoadProcess]:
    """A load worker whose target responds to every request with `stream`."""
    with scripted_server(Script(reply=stream)) as url:
        with on_core(CLIENT_CORE):
            load = LoadProcess()
        with load:
            load.configure(Endpoint((f"{url}/v1",)), WORKLOAD)
            yield load


def count_events(rows: pd.DataFrame) -> int:
    return int(rows["chunk_ns"].map(len).sum())


def at_once() -> TraceArrivals:
    return TraceArrivals(np.zeros(STREAMS, "<i8").tobytes())


def poisson() -> OpenArrivals:
    """As many arrivals as keep the streams in flight."""
    return OpenArrivals("poisson", ((0.0, STREAMS / (FIRST_S + (TOKENS - 1) * GAP_S)),))


def bench_alone(load: LoadProcess, seconds: float) -> None:
    costs, rates = [], []
    for _ in range(REPEATS):
        ended, rows = run_stage(load, ClosedArrivals(STREAMS), seconds)
        costs.append(1e6 * ended.cpu_s / count_events(rows))
        rates.append(count_events(rows) / ((ended.end_ns - ended.start_ns) / 1e9))
    print(f"alone      {median(rates):9,.0f} events/s  {median(costs):5.1f} µs CPU an event")


def bench_exact(name: str, load: LoadProcess, arrivals: Arrivals, duration_s: float) -> None:
    errors: dict[str, list[npt.NDArray[np.float64]]] = {"sent": [], "scheduled": [], "ICL": []}
    reused, opened = [], 0
    for seed in range(REPEATS):
        ended, rows = run_stage(load, arrivals, duration_s, seed)
        for since in ("sent", "scheduled"):
            ttft_ms = (rows["first_token_ns"] - rows[f"{since}_ns"]).to_numpy() / 1e6
            errors[since].append(np.abs(ttft_ms - 1e3 * FIRST_S))
        errors["ICL"].append(np.abs(np.concatenate([np.diff(times) for times in rows["chunk_ns"]]) / 1e6 - 1e3 * GAP_S))
        reused.append(rows["reused"].mean())
        opened += ended.connections_opened
    print(
        f"{name:10} TTFT error, from the send {_format_errors(errors['sent'])}, from the scheduled time"
        f" {_format_errors(errors['scheduled'])}; ICL error {_format_errors(errors['ICL'])};"
        f" {median(reused):.0%} on a connection used before, {opened} opened"
    )


def _format_errors(errors_ms: list[npt.NDArray[np.float64]]) -> str:
    p50, p99 = (median(float(np.percentile(errors, q)) for errors in errors_ms) for q in (50, 99))
    return f"p50 {p50:.3f} ms p99 {p99:.3f} ms"


def bench_coalesced(seconds: float) -> None:
    content = b"".join(
        data for _, data in build_chunked_stream(build_openai_stream(Generation(tokens=BLAST_TOKENS), 0, 0)).pieces
    )
    with run_worker(Stream(((0.0, content),))) as load:
        run_stage(load, ClosedArrivals(8), 0.5)
        rates, costs = [], []
        for _ in range(REPEATS):
            ended, rows = run_stage(load, ClosedArrivals(8), seconds)
            rates.append(count_events(rows) / ((ended.end_ns - ended.start_ns) / 1e9))
            costs.append(1e6 * ended.cpu_s / count_events(rows))
    print(f"coalesced  {median(rates):9,.0f} events/s  {median(costs):5.1f} µs CPU an event")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="stages of 20 s instead of 5")
    seconds = 20.0 if parser.parse_args().full else 5.0
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians of {REPEATS}")
    # the head comes with the first token: 200 heads at once would make the server late for its own schedule
    generation = Generation(tokens=TOKENS, has_role_chunk=False)
    with run_worker(build_chunked_stream(build_openai_stream(generation, FIRST_S, GAP_S), head_s=FIRST_S)) as load:
        run_stage(load, at_once(), 0.1)  # connections made
        bench_alone(load, seconds)
        bench_exact("at once", load, at_once(), 0.1)
        bench_exact("Poisson", load, poisson(), seconds)
    bench_coalesced(seconds)
    print(
        "must: alone ≤ 10 µs CPU an event; coalesced ≥ 150,000 events/s; at once TTFT error p50 ≤ 0.2 ms, p99 ≤ 5 ms;"
        " Poisson p99 ≤ 1 ms; ICL error p99 ≤ 1 ms; connections reused"
    )


if __name__ == "__main__":
    main()
