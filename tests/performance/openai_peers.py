"""Load generators for language models: their installation, their options for the same load, and their reported results.

Each has a virtual environment below `.venv-peers/`, which remains. GuideLLM brings PyTorch, some 6 GB.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import psutil
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.performance.targets import CLIENT_CORE, on_core

VENVS = Path(__file__).parents[2] / ".venv-peers"
MODEL = "scripted"
WORDS = 1_000
PROMPTS = 2_000
PROMPT_WORDS = 100
POLL_INTERVAL_S = 0.1
OFFLINE = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""No request is sent to a model hub."""


class Load(NamedTuple):
    """A closed loop of `clients`; each response has `tokens`."""

    url: str
    clients: int
    requests: int
    tokens: int


class ReportedRun(NamedTuple):
    """Results that a load generator reports; the times of the first and the last request are wall-clock times."""

    requests: int
    per_s: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    start_s: float
    end_s: float


class CpuSample(NamedTuple):
    """CPU seconds of a program and its children until a time."""

    at_s: float
    cpu_s: float


class NoResultError(Exception):
    """A peer that cannot be compared, with the reason."""


class Peer(NamedTuple):
    package: str
    command: Callable[[Load, Path], list[str]]
    """Its command, which writes into the folder that has `tokenizer` and `prompts.jsonl`."""
    read: Callable[[Path], ReportedRun]


def guidellm(load: Load, folder: Path) -> list[str]:
    return [
        *("run", "--backend", f"kind=openai_http,target={load.url},model={MODEL}"),
        *("--profile", f"kind=concurrent,streams={load.clients}"),
        *("--constraint", f"kind=max_requests,count={load.requests}"),
        *("--tokenizer", f"kind=hf_auto,model={folder / 'tokenizer'}"),
        *("--data", f"kind=json_file,path={folder / 'prompts.jsonl'}"),
        *("--output", f"kind=json,path={folder / 'guidellm.json'}"),
        "--disable-console",
    ]


def read_guidellm(folder: Path) -> ReportedRun:
    run = _read(folder / "guidellm.json")["benchmarks"][0]
    metrics = run["metrics"]
    done, ttft_ms = metrics["request_totals"]["successful"], metrics["time_to_first_token_ms"]["successful"]
    rate_per_s = metrics["requests_per_second"]["successful"]["mean"]
    times = run["start_time"], run["end_time"]
    return ReportedRun(done, rate_per_s, ttft_ms["median"], ttft_ms["percentiles"]["p99"], *times)


def aiperf(load: Load, folder: Path) -> list[str]:
    return [
        *("profile", "--model", MODEL, "--url", load.url, "--endpoint-type", "chat", "--streaming"),
        *("--concurrency", str(load.clients), "--request-count", str(load.requests)),
        *("--tokenizer", str(folder / "tokenizer"), "--use-server-token-count"),
        *("--isl", str(PROMPT_WORDS), "--isl-stddev", "0", "--osl", str(load.tokens), "--osl-stddev", "0"),
        *("--output-artifact-dir", str(folder / "aiperf"), "--ui", "none"),
        *("--no-server-metrics", "--no-gpu-telemetry"),
    ]


def read_aiperf(folder: Path) -> ReportedRun:
    reported = _read(folder / "aiperf" / "profile_export_aiperf.json")
    ttft_ms = reported["time_to_first_token"]
    start_s, end_s = (datetime.fromisoformat(reported[key]).timestamp() for key in ("start_time", "end_time"))
    done, per_s = int(reported["request_count"]["avg"]), reported["request_throughput"]["avg"]
    return ReportedRun(done, per_s, ttft_ms["p50"], ttft_ms["p99"], start_s, end_s)


PEERS = (Peer("aiperf", aiperf, read_aiperf), Peer("guidellm", guidellm, read_guidellm))


def install(package: str, timeout_s: float) -> Path:
    """The program of a package, installed if it is missing. Raises NoResultError."""
    venv = VENVS / package
    program = venv / "bin" / package
    if not program.exists():
        commands = (
            [sys.executable, "-m", "venv", str(VENVS / "uv")],
            [str(VENVS / "uv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"],
            [str(VENVS / "uv/bin/uv"), "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(venv)],
            [str(VENVS / "uv/bin/uv"), "pip", "install", "--quiet", "--python", str(venv / "bin/python"), package],
        )
        _run_bounded("installing it", commands, timeout_s)
    return program


def run_peer(peer: Peer, program: Path, load: Load, folder: Path, timeout_s: float) -> tuple[ReportedRun, float]:
    """Run a peer; return its results and its CPU seconds per request without start and end. Raises NoResultError."""
    write_inputs(folder)
    cpu_samples = _run_bounded("its run", [[str(program), *peer.command(load, folder)]], timeout_s, folder)
    try:
        reported = peer.read(folder)
    except (OSError, LookupError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise NoResultError(f"its numbers cannot be read: {type(error).__name__}: {error}") from error
    if reported.requests < 0.95 * load.requests:
        raise NoResultError(f"only {reported.requests} of {load.requests} requests succeeded")
    before_s, after_s = np.interp(
        (reported.start_s, reported.end_s),
        [sample.at_s for sample in cpu_samples],
        [sample.cpu_s for sample in cpu_samples],
    )
    return reported, (after_s - before_s) / reported.requests


def write_inputs(folder: Path) -> None:
    """Write a tokenizer with a token per word, and artificial prompts."""
    words = [f"w{number}" for number in range(WORDS)]
    vocabulary = {word: number for number, word in enumerate(["<unk>", "tok", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    tokenizer_config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer" / "tokenizer_config.json").write_bytes(msgspec.json.encode(tokenizer_config))
    prompts = (" ".join(words[(first + at) % WORDS] for at in range(PROMPT_WORDS)) for first in range(PROMPTS))
    (folder / "prompts.jsonl").write_bytes(
        b"".join(msgspec.json.encode({"prompt": prompt}) + b"\n" for prompt in prompts)
    )


def _run_bounded(
    action: str, commands: Sequence[Sequence[str]], timeout_s: float, run_in: Path | None = None
) -> list[CpuSample]:
    """Run them one after the other, on the client's core where there is a folder to run in. When their time together is
    over, end them and all that they started."""
    end_s = time.monotonic() + timeout_s
    cpu_samples: list[CpuSample] = []
    with tempfile.TemporaryFile("w+") as output:
        for command in commands:
            with on_core(CLIENT_CORE) if run_in is not None else contextlib.nullcontext():
                child = subprocess.Popen(
                    command,
                    cwd=run_in,
                    env=os.environ | OFFLINE,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            try:
                cpu_samples.extend(_watch_cpu(child, end_s))
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            if child.wait():
                output.seek(0)
                last = (output.read().strip().splitlines() or ["no output"])[-1]
                late = "had not ended in its time" if time.monotonic() > end_s else f"ended with {child.returncode}"
                raise NoResultError(f"{action} {late}: {last[:150]}")
    return cpu_samples


def _watch_cpu(child: subprocess.Popen[bytes], end_s: float) -> Iterator[CpuSample]:
    """Yield the CPU time until the child ends or the time is over."""
    cpu_s: dict[psutil.Process, float] = {}
    while child.poll() is None and time.monotonic() < end_s:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(child.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    cpu_s[process] = times.user + times.system
        yield CpuSample(time.time(), sum(cpu_s.values()))
        time.sleep(POLL_INTERVAL_S)


def _read(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes())
