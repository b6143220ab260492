"""Sizewise compared with other LLM load generators: `python -m tests.performance peers`, some 3 minutes, 5 at most.

They are installed from the registry on the first call. All receive the same scripted responses, the server on one core,
the client on another one. First with low load and a known time to the first token, which each reports. Then with full
load: requests per second and CPU time, without the start and the end of a program.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from loadgen.process import LoadProcess
from loadgen.records import ClosedArrivals, Endpoint
from loadgen.reference.openai_events import Generation, build_chunked_stream, build_openai_stream
from loadgen.reference.script import Reply, Script
from loadgen.workloads import FixedLength, OpenAiWorkload, SyntheticPrompts
from tests.performance.load_worker import run_stage
from tests.performance.openai_peers import (
    MODEL,
    PEERS,
    PROMPT_WORDS,
    Load,
    NoResultError,
    Peer,
    ReportedRun,
    install,
    run_peer,
)
from tests.performance.targets import CLIENT_CORE, on_core, scripted_server

ALL_S = 300.0
INSTALL_S, RUN_S = 120.0, 75.0
TOKENS = 16
FIRST_S, GAP_S = 0.05, 0.005
CLIENTS, REQUESTS = (8, 16), (200, 1_200)
"""At low and at full load."""
OURS_S = 4.0
WORKLOAD = OpenAiWorkload("chat", MODEL, SyntheticPrompts(FixedLength(PROMPT_WORDS), FixedLength(TOKENS), unique=1_000))


def build_script(first_s: float, gap_s: float) -> Script:
    stream = build_chunked_stream(
        build_openai_stream(Generation(tokens=TOKENS, has_role_chunk=False), first_s, gap_s), head_s=first_s
    )
    models = b'{"object": "list", "data": [{"id": "scripted", "object": "model"}]}'
    return Script(reply=stream, paths={"/health": Reply(), "/v1/models": Reply(body=models)})


def measure_sizewise(load: LoadProcess, url: str, clients: int) -> tuple[ReportedRun, float]:
    load.configure(Endpoint((f"{url}/v1",)), WORKLOAD)
    run_stage(load, ClosedArrivals(clients), 0.5)  # connections made, caches warm
    ended, rows = run_stage(load, ClosedArrivals(clients), OURS_S)
    p50_ms, p99_ms = np.percentile((rows["first_token_ns"] - rows["sent_ns"]) / 1e6, [50, 99])
    start_s, end_s = ended.start_ns / 1e9, rows["end_ns"].max() / 1e9
    return ReportedRun(len(rows), len(rows) / (end_s - start_s), p50_ms, p99_ms, start_s, end_s), ended.cpu_s / len(
        rows
    )


def measure_peer(peer: Peer, urls: tuple[str, str], end_s: float) -> Iterator[tuple[ReportedRun, float]]:
    """Measure a peer at low, then at full load. Raises NoResultError."""
    program = install(peer.package, min(INSTALL_S, end_s - time.monotonic()))
    for url, clients, requests in zip(urls, CLIENTS, REQUESTS, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            load = Load(url, clients, requests, TOKENS)
            yield run_peer(peer, program, load, Path(folder), min(RUN_S, end_s - time.monotonic()))


def show(name: str, runs: Sequence[tuple[ReportedRun, float]], ours_per_s: float | None = None) -> None:
    (gentle, _), (flat_out, cpu_s) = runs
    p50_ms, p99_ms = gentle.ttft_p50_ms, gentle.ttft_p99_ms
    ratio = "" if ours_per_s is None else f"  sizewise: {ours_per_s / flat_out.per_s:4.0f} ×"
    print(
        f"{name:9} {flat_out.per_s:7,.0f} streams/s  {1e6 * cpu_s:6,.0f} µs CPU each;"
        f"  TTFT reported p50 {p50_ms:.2f} ms ({p50_ms - 1e3 * FIRST_S:+.2f}), p99 {p99_ms:.2f} ms{ratio}",
        flush=True,
    )


def main() -> None:
    end_s = time.monotonic() + ALL_S
    print(
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; answers of {TOKENS} tokens;"
        f" gently: {CLIENTS[0]} clients, first token at {1e3 * FIRST_S:g} ms; flat out: {CLIENTS[1]} clients",
        flush=True,
    )
    with scripted_server(build_script(FIRST_S, GAP_S)) as gentle_url, scripted_server(build_script(0, 0)) as url:
        urls = gentle_url, url
        with on_core(CLIENT_CORE):
            load = LoadProcess()
        with load:
            runs = [measure_sizewise(load, *side) for side in zip(urls, CLIENTS, strict=True)]
        show("sizewise", runs)
        for peer in PEERS:
            try:
                show(peer.package, list(measure_peer(peer, urls, end_s)), ours_per_s=runs[1][0].per_s)
            except NoResultError as reason:
                print(f"{peer.package:9} n/a: {reason}", flush=True)


if __name__ == "__main__":
    main()
