"""Load generators for language models: how each is installed, how it is asked for our load, where it tells its numbers.

Each has a virtual environment below `.venv-peers/`, which is kept. GuideLLM brings PyTorch, some 6 GB.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from tokenizers import Tokenizer, models, pre_tokenizers

VENVS = Path(__file__).parents[2] / ".venv-peers"
MODEL = "scripted"
WORDS = 1_000
PROMPTS = 2_000
PROMPT_WORDS = 100
OFFLINE = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""Nothing is asked of a hub."""


class Load(NamedTuple):
    """A closed loop of `clients`; `tokens` are what each answer has."""

    url: str
    clients: int
    requests: int
    tokens: int


class Told(NamedTuple):
    """What a generator says of its run; `cpu_s` is what the system says."""

    requests: int
    per_s: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    cpu_s: float


class NoResultError(Exception):
    """A peer cannot be compared, and why."""


class Peer(NamedTuple):
    package: str
    command: Callable[[Load, Path], list[str]]
    """Writes below the folder, where `tokenizer` and `prompts.jsonl` lie."""
    read: Callable[[Path], tuple[int, float, float, float]]
    """The first four of Told."""


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


def guidellm_told(folder: Path) -> tuple[int, float, float, float]:
    metrics = _read(folder / "guidellm.json")["benchmarks"][0]["metrics"]
    done, ttft_ms = metrics["request_totals"]["successful"], metrics["time_to_first_token_ms"]["successful"]
    rate_per_s = metrics["requests_per_second"]["successful"]["mean"]
    return done, rate_per_s, ttft_ms["median"], ttft_ms["percentiles"]["p99"]


def aiperf(load: Load, folder: Path) -> list[str]:
    return [
        *("profile", "--model", MODEL, "--url", load.url, "--endpoint-type", "chat", "--streaming"),
        *("--concurrency", str(load.clients), "--request-count", str(load.requests)),
        *("--tokenizer", str(folder / "tokenizer"), "--use-server-token-count"),
        *("--isl", str(PROMPT_WORDS), "--isl-stddev", "0", "--osl", str(load.tokens), "--osl-stddev", "0"),
        *("--output-artifact-dir", str(folder / "aiperf"), "--ui", "none"),
        *("--no-server-metrics", "--no-gpu-telemetry"),
    ]


def aiperf_told(folder: Path) -> tuple[int, float, float, float]:
    told = _read(folder / "aiperf" / "profile_export_aiperf.json")
    ttft_ms = told["time_to_first_token"]
    return int(told["request_count"]["avg"]), told["request_throughput"]["avg"], ttft_ms["p50"], ttft_ms["p99"]


PEERS = (Peer("aiperf", aiperf, aiperf_told), Peer("guidellm", guidellm, guidellm_told))


def installed(package: str, timeout_s: float) -> Path:
    """Its program, installed if it is not there. Raises NoResultError."""
    venv = VENVS / package
    program = venv / "bin" / package
    if not program.exists():
        commands = (
            [sys.executable, "-m", "venv", str(VENVS / "uv")],
            [str(VENVS / "uv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"],
            [str(VENVS / "uv/bin/uv"), "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(venv)],
            [str(VENVS / "uv/bin/uv"), "pip", "install", "--quiet", "--python", str(venv / "bin/python"), package],
        )
        _bounded("installing it", commands, timeout_s)
    return program


def played(peer: Peer, program: Path, load: Load, folder: Path, timeout_s: float) -> Told:
    """Raises NoResultError."""
    write_inputs(folder)
    before_s = _children_cpu_s()
    _bounded("its run", [[str(program), *peer.command(load, folder)]], timeout_s, folder)
    cpu_s = _children_cpu_s() - before_s
    try:
        told = Told(*peer.read(folder), cpu_s)
    except (OSError, LookupError, TypeError, msgspec.DecodeError) as error:
        raise NoResultError(f"its numbers cannot be read: {type(error).__name__}: {error}") from error
    if told.requests < load.requests:
        raise NoResultError(f"only {told.requests} of {load.requests} requests succeeded")
    return told


def write_inputs(folder: Path) -> None:
    """A tokenizer to which a word is a token, and prompts; neither is anybody's."""
    words = [f"w{number}" for number in range(WORDS)]
    vocabulary = {word: number for number, word in enumerate(["<unk>", "tok", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer" / "tokenizer_config.json").write_bytes(msgspec.json.encode(named))
    prompts = (" ".join(words[(first + at) % WORDS] for at in range(PROMPT_WORDS)) for first in range(PROMPTS))
    (folder / "prompts.jsonl").write_bytes(b"".join(msgspec.json.encode({"prompt": each}) + b"\n" for each in prompts))


def _bounded(what: str, commands: Sequence[Sequence[str]], timeout_s: float, folder: Path | None = None) -> None:
    """Run them one after the other; when their time together is over, end them and all that they started."""
    end_s = time.monotonic() + timeout_s
    for command in commands:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | OFFLINE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(timeout=max(0.0, end_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise NoResultError(f"{what} took more than {timeout_s:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if child.returncode:
            last = (said.strip().splitlines() or ["nothing said"])[-1]
            raise NoResultError(f"{what} ended with {child.returncode}: {last[:150]}")


def _read(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes())


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
