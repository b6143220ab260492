"""Sizewise compared with other tools on agent sessions: `python -m tests.performance agent_peers`, 3 to 10 minutes.

All run the same recorded sessions, one turn after another, against the reference LLM server. Its log says whether each
turn came after the one before, contained the server's own response, and waited for its delay; how many prompt tokens
its cache served; and the time to the first token by its clock, beside the one that each tool reports.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loadgen.reference.llm_scheduler import EventKind, LlmConfig
from tests.fakes.llm_server import ObservedLlmServer, llm_server
from tests.fakes.program import SIZEWISE
from tests.performance.openai_peers import (
    MODEL,
    PEERS,
    Load,
    NoResultError,
    Peer,
    install,
    run_peer,
)
from tests.performance.targets import CLIENT_CORE, on_core

ALL_S, INSTALL_S, RUN_S = 700.0, 300.0, 200.0
ONE_WORKER = {"GUIDELLM__MAX_WORKER_PROCESSES": "1"}
"""Enough for a few clients. By default it starts ten, each of which imports PyTorch on the client's only core."""
SESSIONS, TURNS, CLIENTS = 24, 6, 8
WORDS, TOKENS = 150, 32
DELAY_S = 0.2
SERVER = LlmConfig(
    served_model_name=MODEL, num_gpu_blocks=None, step_ms=4, prefill_token_ms=0.03,
    min_output_tokens=TOKENS, max_output_tokens=TOKENS,
)  # fmt: skip


class ReportedResult(NamedTuple):
    """Results that a tool reports: the time to the first token, and the shares of the prompt tokens that an unlimited
    cache could serve, and that the server's cache served; `None` if not reported."""

    ttft_mean_ms: float
    ttft_p50_ms: float
    ttft_p95_ms: float
    offered: float | None
    served: float | None


class LoggedResult(NamedTuple):
    """The same results by the server's log, and how many of the later turns were correct."""

    turns: int
    in_order: int
    with_history: int
    delayed: int
    ttft_ms: tuple[float, float, float]
    served: float


def name_of(session: int, turn: int) -> str:
    return f"w{session * TURNS + turn}"


def text_of(session: int, turn: int) -> str:
    """Text of a turn, whose first word is in no other turn."""
    words = (f"w{(7 * session + 31 * turn + at) % 700 + 200}" for at in range(WORDS - 1))
    return " ".join([name_of(session, turn), *words])


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def aiperf(load: Load, folder: Path) -> list[str]:
    sessions = [
        {
            "session_id": f"s{session}",
            "turns": [
                {"text": text_of(session, turn), "delay": 1000 * DELAY_S if turn else 0, "output_length": TOKENS}
                for turn in range(TURNS)
            ],
        }
        for session in range(SESSIONS)
    ]
    return [
        *("profile", "--model", MODEL, "--url", load.url, "--endpoint-type", "chat", "--streaming"),
        *("--concurrency", str(load.clients), "--request-count", str(load.requests)),
        *("--tokenizer", str(folder / "tokenizer"), "--use-server-token-count"),
        *("--input-file", str(write_lines(folder / "sessions.jsonl", sessions))),
        *("--custom-dataset-type", "multi_turn", "--dataset-sampling-strategy", "sequential"),
        *("--output-artifact-dir", str(folder / "aiperf"), "--ui", "none", "--no-gpu-telemetry"),
    ]


def guidellm(load: Load, folder: Path) -> list[str]:
    rows = [
        {f"prompt_{turn}": text_of(session, turn) for turn in range(TURNS)}
        | {f"output_tokens_count_{turn}": TOKENS for turn in range(TURNS)}
        for session in range(SESSIONS)
    ]
    return [
        *("run", "--backend", f"kind=openai_http,target={load.url},model={MODEL}"),
        *("--profile", f"kind=concurrent,streams={load.clients}"),
        *("--constraint", f"kind=max_requests,count={load.requests}"),
        *("--tokenizer", f"kind=hf_auto,model={folder / 'tokenizer'}"),
        *("--data", f"kind=json_file,path={write_lines(folder / 'sessions.jsonl', rows)}"),
        *("--output", f"kind=json,path={folder / 'guidellm.json'}"),
        "--disable-console",
    ]


def read_aiperf_result(folder: Path) -> ReportedResult:
    reported = json.loads((folder / "aiperf" / "profile_export_aiperf.json").read_text())
    ttft_ms = reported["time_to_first_token"]
    served_percent = reported["overall_usage_prompt_cache_read_pct"]["avg"]
    return ReportedResult(ttft_ms["avg"], ttft_ms["p50"], ttft_ms["p95"], None, served_percent / 100)


def read_guidellm_result(folder: Path) -> ReportedResult:
    metrics = json.loads((folder / "guidellm.json").read_text())["benchmarks"][0]["metrics"]
    ttft_ms = metrics["time_to_first_token_ms"]["successful"]
    return ReportedResult(ttft_ms["mean"], ttft_ms["median"], ttft_ms["percentiles"]["p95"], None, None)


THEIRS: dict[str, tuple[Callable[[Load, Path], list[str]], Callable[[Path], ReportedResult]]] = {
    "aiperf": (aiperf, read_aiperf_result),
    "guidellm": (guidellm, read_guidellm_result),
}


def measure_sizewise(url: str, folder: Path) -> ReportedResult:
    rows = [
        {"session": session, "text": text_of(session, turn), "output_tokens": TOKENS, "delay_s": DELAY_S}
        for session in range(SESSIONS)
        for turn in range(TURNS)
    ]
    profile = {
        "sizewise": 1, "name": "agents", "target": {"protocol": "openai-chat", "url": f"{url}/v1", "model": MODEL},
        "workload": {"sessions": str(write_lines(folder / "sessions.jsonl", rows))},
        "load": {"workers": 1, "warmup": "0s",
                 "stages": [{"name": "agents", "concurrency": CLIENTS, "requests": SESSIONS * TURNS}]},
    }  # fmt: skip
    (folder / "profile.yaml").write_text(json.dumps(profile))
    with on_core(CLIENT_CORE):
        done = subprocess.run(
            [SIZEWISE, "run", str(folder / "profile.yaml"), "--out", str(folder / "run")],
            env=os.environ | {"SIZEWISE_HOME": str(folder / "home")}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode not in (0, 4):
        raise NoResultError(done.stderr.strip()[-150:])
    result = json.loads((folder / "run" / "result.json").read_text())
    ttft_ms = {name: value["value"] for name, value in result["stages"][-1]["metrics"]["ttft_ms"].items()}
    reuse = result["prefix_reuse"] or {}
    return ReportedResult(
        ttft_ms["mean"], ttft_ms["p50"], ttft_ms["p95"], reuse.get("offered_share"), reuse.get("served_share")
    )


def read_server_log(server: ObservedLlmServer) -> LoggedResult:
    """Results of the sessions' requests by the server's log, without requests that a tool sends before."""
    at_ns: dict[tuple[EventKind, str], int] = {}
    cached: dict[str, int] = {}
    for event in server.events:
        at_ns.setdefault((event.kind, event.request_id), event.sent_ns or event.at_ns)
        if event.kind == EventKind.ADMITTED:
            cached.setdefault(event.request_id, event.cached_tokens or 0)
    sent: dict[str, tuple[str, list[Any]]] = {}
    for request, body in list(zip(server.requests, server.bodies, strict=True)):
        messages = json.loads(body)["messages"]
        sent.setdefault(_text(messages[-1]).split()[0], (request.request_id, messages))  # one may be sent again
    responses = {request.request_id: " ".join(request.tokens[request.prompt_count :]) for request in server.requests}
    pairs = [
        (sent[name_of(session, turn - 1)], sent[name_of(session, turn)])
        for session in range(SESSIONS)
        for turn in range(1, TURNS)
        if {name_of(session, turn - 1), name_of(session, turn)} <= sent.keys()
    ]
    gaps_ns = [at_ns[EventKind.ARRIVED, after] - at_ns[EventKind.FINISHED, before] for (before, _), (after, _) in pairs]
    histories = [
        [_text(message).split() for message in messages]
        == [*([_text(message).split() for message in earlier]), responses[before].split(), _text(messages[-1]).split()]
        for (before, earlier), (_, messages) in pairs
    ]
    names = [name for name, _ in sent.values()]
    ttft_ms = np.array([at_ns[EventKind.TOKEN, name] - at_ns[EventKind.ARRIVED, name] for name in names]) / 1e6
    prompts = {request.request_id: request.prompt_count for request in server.requests}
    return LoggedResult(
        len(pairs), sum(gap_ns >= 0 for gap_ns in gaps_ns), sum(histories),
        sum(gap_ns >= 1e9 * DELAY_S for gap_ns in gaps_ns),
        (float(ttft_ms.mean()), float(np.median(ttft_ms)), float(np.percentile(ttft_ms, 95))),
        sum(cached[name] for name in names) / sum(prompts[name] for name in names),
    )  # fmt: skip


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else " ".join(part["text"] for part in content)


def show(name: str, result: ReportedResult, log: LoggedResult) -> None:
    errors = ", ".join(
        f"{label} {reported - true_ms:+.2f}"
        for label, reported, true_ms in zip(("mean", "p50", "p95"), result[:3], log.ttft_ms, strict=True)
    )
    print(
        f"| {name} | {log.in_order} of {log.turns} | {log.with_history} of {log.turns} | "
        f"{log.delayed} of {log.turns} | {_share(result.offered)} | {_share(result.served)} | {log.served:.1%} | "
        f"{log.ttft_ms[1]:.1f} ms | {errors} ms |",
        flush=True,
    )


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def main() -> None:
    end_s = time.monotonic() + ALL_S
    os.environ |= ONE_WORKER
    print(
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {SESSIONS} sessions of {TURNS} turns, "
        f"{CLIENTS} at a time, {DELAY_S:g} s between turns\n\n"
        "| tool | turns in order | with the server's response | after the delay | hits offered, as stated "
        "| served, as stated | served, by the log | TTFT p50 by the log | error of TTFT as stated |\n"
        "|---|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name in ("sizewise", *(peer.package for peer in PEERS)):
        try:
            with tempfile.TemporaryDirectory() as path, llm_server(SERVER) as server:
                folder, url = Path(path), server.url.removesuffix("/v1")
                if name == "sizewise":
                    result = measure_sizewise(url, folder)
                else:
                    command, read = THEIRS[name]
                    (peer,) = (peer for peer in PEERS if peer.package == name)
                    program = install(name, min(INSTALL_S, end_s - time.monotonic()))
                    load = Load(url, CLIENTS, SESSIONS * TURNS, TOKENS)
                    run_peer(
                        Peer(name, command, peer.read), program, load, folder, min(RUN_S, end_s - time.monotonic())
                    )
                    result = read(folder)
            show(name, result, read_server_log(server))
        except NoResultError as reason:
            print(f"| {name} | n/a: {reason} |", flush=True)


if __name__ == "__main__":
    main()
