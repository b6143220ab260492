"""Whether the hit rates of a trace's prefixes are what the reference server hits.

    python -m tests.studies.cache_truths --trace conversation_trace.jsonl --rows 500

The first rows of a trace with `hash_ids` run against the reference server three times: one request in flight and a
cache without limit, several in flight and a cache without limit, and several in flight and a cache that evicts. The
hits of each request are predicted from the trace alone, and by `BlockCache` in the order of the server's own log of
admissions, steps and ends. The second must be exact; the first is exact only for one request in flight.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from app.analysis.prefix_cache import BlockCache, Segment, compute_offered_hits, count_tokens
from loadgen.payloads.texts import TextGenerator
from loadgen.reference.llm_scheduler import EventKind, LlmConfig, SchedulerEvent
from tests.fakes.llm_server import llm_server
from tests.fakes.program import SIZEWISE

TRACE_BLOCK_TOKENS = 512
SEED = 5
MAX_DIFFERENCE = 0.02
"""Largest difference of a hit rate that is predicted from the trace alone."""
_USAGE = "Give a trace with --trace PATH, such as conversation_trace.jsonl of Mooncake; none is shipped."
_PROFILE = """sizewise: 1
name: trace
target: {{protocol: openai-completions, url: "{url}", model: m, timeouts: {{total: 10m, idle: 10m}}}}
workload: {{stream: false, trace: {trace}}}
load:
  seed: {seed}
  workers: 1
  warmup: 0s
  stages: [{{name: replay, concurrency: {in_flight}, requests: {rows}}}]
"""


class Request(NamedTuple):
    prompt: tuple[Segment, ...]
    output_tokens: int


class Case(NamedTuple):
    in_flight: int
    capacity_blocks: int | None


class Outcome(NamedTuple):
    """Hit rates of a case, and the number of requests whose hits are predicted exactly."""

    case: Case
    requests: int
    evicted_blocks: int
    served: float
    from_trace: float
    exact_from_trace: int
    exact_from_log: int

    @property
    def is_right(self) -> bool:
        is_alone = self.case == Case(1, None)
        is_exact = self.exact_from_log == self.requests and (not is_alone or self.exact_from_trace == self.requests)
        return is_exact and abs(self.from_trace - self.served) <= MAX_DIFFERENCE


def read_requests(path: Path, count: int) -> list[Request]:
    """The first rows of a trace in Mooncake's format."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in itertools.islice(file, count)]
    return [Request(tuple(_blocks_of(row["hash_ids"], row["input_length"])), row["output_length"]) for row in rows]


def _blocks_of(ids: Sequence[int], tokens: int) -> Iterable[Segment]:
    for number, block_id in enumerate(ids):
        yield block_id, min(TRACE_BLOCK_TOKENS, tokens - number * TRACE_BLOCK_TOKENS)


def build_texts(requests: Sequence[Request]) -> list[str]:
    """The prompts that Sizewise generates from the IDs."""
    generator = TextGenerator(np.random.default_rng(0), None)
    return [generator.generate_from_blocks(request.prompt, TRACE_BLOCK_TOKENS, SEED) for request in requests]


class _Running(NamedTuple):
    number: int
    progress: list[int]
    """Tokens that are known, and those that are computed."""


class LogReplay:
    """Replays the server's cache from its log: when requests were admitted, and when steps began and requests ended.

    The hits in the log are only used for how much of a prompt a step computes.
    """

    def __init__(self, requests: Mapping[str, Request], config: LlmConfig) -> None:
        blocks = sum(
            -(-(count_tokens(one.prompt) + one.output_tokens) // config.block_size) for one in requests.values()
        )
        self._cache = BlockCache(config.num_gpu_blocks or blocks, config.block_size)
        self._requests, self._step_tokens = requests, config.max_num_batched_tokens
        self._running: dict[str, _Running] = {}
        self._budget: int | None = None
        self._word_ids = itertools.count(1)
        self.hits: dict[str, int] = {}

    def replay(self, events: Iterable[SchedulerEvent]) -> dict[str, int]:
        """Return the hits of each request, in the order of admission."""
        for event in events:
            match event.kind:
                case EventKind.ADMITTED:
                    self._admit(event)
                case EventKind.STEP:
                    self._finish_step()
                case EventKind.FINISHED:
                    self._cache.release(self._running.pop(event.request_id).number)
                case EventKind.PREEMPTED:
                    raise ValueError("a request was preempted: give the server more blocks, or run fewer in flight")
        return self.hits

    def _begin_step(self) -> int:
        """Start a step: running requests come first, in the order of admission."""
        if self._budget is None:
            self._budget = self._step_tokens
            for running in self._running.values():
                self._compute(running, min(running.progress[0] - running.progress[1], self._budget))
        return self._budget

    def _compute(self, running: _Running, tokens: int) -> None:
        if tokens and not self._cache.compute(running.number, tokens):
            raise ValueError("the server had room where this cache has none")
        running.progress[1] += tokens
        self._budget = (self._budget or 0) - tokens

    def _admit(self, event: SchedulerEvent) -> None:
        budget = self._begin_step()
        prompt, number = self._requests[event.request_id].prompt, len(self.hits)
        tokens = count_tokens(prompt)
        chunk = min(tokens - (event.cached_tokens or 0), budget)
        hits = self._cache.admit(number, prompt, chunk)
        if hits is None:
            raise ValueError("the server admitted what this cache has no room for")
        self.hits[event.request_id] = hits
        self._running[event.request_id] = _Running(number, [tokens, hits + chunk])
        self._budget = budget - chunk

    def _finish_step(self) -> None:
        """Add a token to each request whose tokens are all computed."""
        self._begin_step()
        self._budget = None
        for running in self._running.values():
            if running.progress[0] == running.progress[1]:
                self._cache.append(running.number, [(-next(self._word_ids), 1)])
                running.progress[0] += 1


def evaluate(
    case: Case, config: LlmConfig, requests: Mapping[str, Request], events: Sequence[SchedulerEvent]
) -> Outcome:
    """`requests` by their IDs in the log, in the order of the trace."""
    admitted = {event.request_id: event.cached_tokens or 0 for event in events if event.kind == EventKind.ADMITTED}
    from_log = LogReplay(requests, config).replay(events)
    offered = compute_offered_hits(
        [request.prompt for request in requests.values()],
        block_tokens=config.block_size,
        capacity_blocks=case.capacity_blocks,
        responses=[[(-number, request.output_tokens)] for number, request in enumerate(requests.values(), 1)],
    )
    tokens = sum(offered.prompt_tokens)
    return Outcome(
        case,
        len(requests),
        sum(len(event.evicted) for event in events),
        sum(admitted.values()) / tokens,
        sum(offered.hit_tokens) / tokens,
        sum(admitted[name] == hits for name, hits in zip(requests, offered.hit_tokens, strict=True)),
        sum(admitted[name] == from_log[name] for name in requests),
    )


def measure(case: Case, requests: Sequence[Request], trace: Path, folder: Path) -> tuple[Outcome, str]:
    """Run the case with Sizewise, and return the outcome and the hit rates in its summary."""
    config = LlmConfig(
        served_model_name="m", max_model_len=max(count_tokens(one.prompt) + one.output_tokens for one in requests),
        num_gpu_blocks=case.capacity_blocks, max_num_batched_tokens=8192, step_ms=0.5, prefill_token_ms=0.001,
        decode_seq_ms=0, min_output_tokens=2**30, max_output_tokens=2**30,
    )  # fmt: skip
    profile = folder / "profile.yaml"
    numbers: dict[str, int] = {}
    for number, text in enumerate(build_texts(requests)):
        numbers.setdefault(text, number)
    with llm_server(config) as server:
        profile.write_text(
            _PROFILE.format(url=server.url, trace=trace, seed=SEED, in_flight=case.in_flight, rows=len(requests))
        )
        done = subprocess.run(
            [SIZEWISE, "run", str(profile), "--out", str(folder / f"run-{case.in_flight}-{case.capacity_blocks}")],
            capture_output=True, text=True, env=os.environ | {"SIZEWISE_HOME": str(folder)}, check=False,
        )  # fmt: skip
    if done.returncode not in (0, 4):
        raise RuntimeError(done.stderr)
    ids = [event.request_id for event in server.events if event.kind == EventKind.ARRIVED]
    sent = dict(zip(ids, (msgspec.json.decode(body) for body in server.bodies), strict=True))
    by_id = {name: Request(requests[numbers[body["prompt"]]].prompt, body["max_tokens"]) for name, body in sent.items()}
    shares = [line.strip() for line in done.stdout.splitlines() if "Prefix cache hit rate" in line]
    return evaluate(case, config, by_id, server.events), " ".join(shares)


def format_table(outcomes: Iterable[Outcome]) -> str:
    lines = [
        "| in flight | capacity | evicted blocks | served | from the trace alone | … exact | from the log, exact |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.case.in_flight} | {_capacity(row.case)} | {row.evicted_blocks:,} | {row.served:.2%} | "
        f"{row.from_trace:.2%} | {row.exact_from_trace} of {row.requests} | {row.exact_from_log} of {row.requests} |"
        for row in outcomes
    ]
    return "\n".join(lines)


def _capacity(case: Case) -> str:
    return "unlimited" if case.capacity_blocks is None else f"{case.capacity_blocks:,} blocks"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.studies.cache_truths", description=__doc__)
    parser.add_argument("--trace", type=Path, metavar="PATH")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--blocks", type=int, default=80_000, help="capacity of the cache that evicts, of 16 tokens")
    parser.add_argument("--in-flight", type=int, default=8)
    options = parser.parse_args(arguments)
    if options.trace is None or not options.trace.is_file():
        print(_USAGE, file=sys.stderr)
        return 3
    requests = read_requests(options.trace, options.rows)
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trace = folder / "trace.jsonl"
        with options.trace.open(encoding="utf-8") as file:
            trace.write_text("".join(itertools.islice(file, options.rows)))
        for case in (Case(1, None), Case(options.in_flight, None), Case(options.in_flight, options.blocks)):
            outcome, shares = measure(case, requests, trace, folder)
            print(outcome, shares, file=sys.stderr, flush=True)
            outcomes.append(outcome)
    print(format_table(outcomes))
    return 0 if all(result.is_right for result in outcomes) else 10


if __name__ == "__main__":
    raise SystemExit(main())
