"""Other tools for language models beside ours: `python -m tests.performance peers`, some 4 minutes, 5 at most.

They are installed from the registry on the first call. All meet the same scripted answers, the server on one core, the
client on the other. First gently, against a known first token: what each says of it. Then flat out: requests a second,
and the CPU they took; a peer's gentle run is taken off that, and with it its start.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from loadgen.process import LoadProcess
from loadgen.records import ClosedArrivals, Endpoint, FixedLength, OpenAiWorkload, StageEnded, SyntheticPrompts
from loadgen.reference.openai_events import Generation, openai_stream
from loadgen.reference.script import Reply, Script
from loadgen.reference.streams import chunked
from tests.performance.load_worker import play
from tests.performance.openai_peers import (
    MODEL,
    PEERS,
    PROMPT_WORDS,
    Load,
    NoResultError,
    Peer,
    Told,
    installed,
    played,
)
from tests.performance.targets import CLIENT_CORE, on_core, scripted_server

ALL_S = 300.0
INSTALL_S, RUN_S = 120.0, 75.0
TOKENS = 16
FIRST_S, GAP_S = 0.05, 0.005
GENTLE_CLIENTS, GENTLE_REQUESTS = 8, 200
CLIENTS, REQUESTS = 16, 1_200
OURS_S = 4.0


def answering(first_s: float, gap_s: float) -> Script:
    stream = chunked(openai_stream(Generation(tokens=TOKENS, role_chunk=False), first_s, gap_s), head_s=first_s)
    models = b'{"object": "list", "data": [{"id": "scripted", "object": "model"}]}'
    return Script(reply=stream, paths={"/health": Reply(), "/v1/models": Reply(body=models)})


def told_of(ended: StageEnded, rows: pd.DataFrame) -> Told:
    ttft_ms = (rows["first_token_ns"] - rows["sent_ns"]) / 1e6
    per_s = len(rows) / ((rows["end_ns"].max() - ended.start_ns) / 1e9)
    return Told(len(rows), per_s, *np.percentile(ttft_ms, [50, 99]), ended.cpu_s)


def ours(gentle_url: str, url: str) -> tuple[Told, Told, float]:
    workload = OpenAiWorkload(
        "chat", MODEL, SyntheticPrompts(FixedLength(PROMPT_WORDS), FixedLength(TOKENS), unique=1_000)
    )
    with on_core(CLIENT_CORE):
        load = LoadProcess()
    with load:
        load.configure(Endpoint((f"{gentle_url}/v1",)), workload)
        play(load, ClosedArrivals(GENTLE_CLIENTS), 0.5)
        gentle = told_of(*play(load, ClosedArrivals(GENTLE_CLIENTS), OURS_S))
        load.configure(Endpoint((f"{url}/v1",)), workload)
        play(load, ClosedArrivals(CLIENTS), 0.5)
        flat_out = told_of(*play(load, ClosedArrivals(CLIENTS), OURS_S))
    return gentle, flat_out, flat_out.cpu_s / flat_out.requests


def theirs(peer: Peer, gentle_url: str, url: str, end_s: float) -> tuple[Told, Told, float]:
    """Raises NoResultError."""

    def left_s(limit_s: float) -> float:
        return min(limit_s, end_s - time.monotonic())

    program = installed(peer.package, left_s(INSTALL_S))
    told = []
    for load in (
        Load(gentle_url, GENTLE_CLIENTS, GENTLE_REQUESTS, TOKENS),
        Load(url, CLIENTS, REQUESTS, TOKENS),
    ):
        with tempfile.TemporaryDirectory() as folder, on_core(CLIENT_CORE):
            told.append(played(peer, program, load, Path(folder), left_s(RUN_S)))
    gentle, flat_out = told
    return gentle, flat_out, (flat_out.cpu_s - gentle.cpu_s) / (flat_out.requests - gentle.requests)


def show(name: str, gentle: Told, flat_out: Told, cpu_s: float, ours_per_s: float) -> None:
    off_ms = [ttft_ms - 1e3 * FIRST_S for ttft_ms in (gentle.ttft_p50_ms, gentle.ttft_p99_ms)]
    ratio = "" if name == "sizewise" else f"  sizewise: {ours_per_s / flat_out.per_s:4.0f} ×"
    print(
        f"{name:9} {flat_out.per_s:7,.0f} streams/s a core  {1e6 * cpu_s:6,.0f} µs CPU each;"
        f"  TTFT told {gentle.ttft_p50_ms:.2f} ms p50 ({off_ms[0]:+.2f}), {gentle.ttft_p99_ms:.2f} ms p99"
        f" ({off_ms[1]:+.2f}){ratio}",
        flush=True,
    )


def main() -> None:
    end_s = time.monotonic() + ALL_S
    print(
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; answers of {TOKENS} tokens;"
        f" gently: {GENTLE_CLIENTS} clients, first token at {1e3 * FIRST_S:g} ms; flat out: {CLIENTS} clients",
        flush=True,
    )
    with scripted_server(answering(FIRST_S, GAP_S)) as gentle_url, scripted_server(answering(0, 0)) as url:
        gentle, flat_out, cpu_s = ours(gentle_url, url)
        show("sizewise", gentle, flat_out, cpu_s, flat_out.per_s)
        for peer in PEERS:
            try:
                show(peer.package, *theirs(peer, gentle_url, url, end_s), flat_out.per_s)
            except NoResultError as reason:
                print(f"{peer.package:9} n/a: {reason}", flush=True)


if __name__ == "__main__":
    main()
