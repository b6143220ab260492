from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec
import pytest

from app.errors import ExitCode
from app.records.result import PrefixReuse
from app.records.telemetry import Samples
from app.session.prompt_reuse import has_output_lengths
from loadgen.records import Endpoint, StagePlan
from loadgen.workloads import (
    Dataset,
    DatasetPrompts,
    Documents,
    FixedLength,
    HttpWorkload,
    Images,
    LocustWorkload,
    OipWorkload,
    OpenAiWorkload,
    Popularity,
    Prompts,
    SyntheticPrompts,
    TracePrompts,
    Workload,
)
from tests.fakes.bench import SPEC, Bench, check_of
from tests.fakes.load import OK, ScriptedLoad

PROMPTS = SyntheticPrompts(FixedLength(5), FixedLength(3))
CHAT = OpenAiWorkload("chat", "m", PROMPTS)
CHAT_SPEC = msgspec.structs.replace(SPEC, workload=CHAT)


class Server:
    """A server whose n-th reading has the n-th number of cache hits, of n thousand prompt tokens."""

    def __init__(self, *hits: float) -> None:
        self._samples = self._count(hits)
        self.read_endpoints: list[Endpoint] = []

    def read(self, endpoint: Endpoint) -> tuple[Samples | None, ...]:
        self.read_endpoints.append(endpoint)
        return (next(self._samples),)

    def _count(self, hits: tuple[float, ...]) -> Iterator[Samples]:
        for reading, hit_count in enumerate(hits, 1):
            yield Samples(
                {"vllm:prefix_cache_hits_total": hit_count, "vllm:prefix_cache_queries_total": 1_000.0 * reading}
            )


def test_prefix_cache_hits_during_stages_are_a_warning(bench: Bench) -> None:
    server = Server(100, 480)
    outcome = bench.run(msgspec.structs.replace(CHAT_SPEC, warmup_s=6.0), read_metrics=server.read)
    check = check_of(outcome, "prefix_cache")
    assert check is not None
    assert check.verdict == "WARN"
    assert check.value == pytest.approx(0.38)
    assert len(server.read_endpoints) == 2, "read after the warm-up, and at the end"
    assert outcome.result.exit.code == 0


@pytest.mark.parametrize(
    "workload",
    [
        msgspec.structs.replace(CHAT, prompts=msgspec.structs.replace(PROMPTS, prefix_groups=2, prefix_tokens=50)),
        msgspec.structs.replace(CHAT, prompts=msgspec.structs.replace(PROMPTS, turns=FixedLength(2))),
        msgspec.structs.replace(CHAT, popularity=Popularity("zipf")),
    ],
)
def test_prefix_cache_hits_are_a_note_if_the_profile_shares_prompts(bench: Bench, workload: Workload) -> None:
    spec = msgspec.structs.replace(SPEC, workload=workload)
    outcome = bench.run(spec, read_metrics=Server(0, 380).read)
    check = check_of(outcome, "prefix_cache")
    assert check is not None
    assert check.verdict == "VALID"
    assert "38 % of the prompt tokens came from the server's prefix cache." in outcome.result.notes


def test_metrics_of_a_server_without_cache_counters_are_read_once(bench: Bench) -> None:
    read_endpoints: list[Endpoint] = []

    def read(endpoint: Endpoint) -> tuple[Samples | None, ...]:
        read_endpoints.append(endpoint)
        return (None,)

    assert check_of(bench.run(CHAT_SPEC, read_metrics=read), "prefix_cache") is None
    assert len(read_endpoints) == 1


@pytest.mark.parametrize("workload", [OipWorkload("m"), LocustWorkload("test.py")])
def test_cache_counters_are_not_read_for_other_protocols_or_locust_tests(bench: Bench, workload: Workload) -> None:
    server = Server(0, 380)
    bench.run(msgspec.structs.replace(SPEC, workload=workload, stages=()), read_metrics=server.read)
    assert server.read_endpoints == []


def test_interrupted_run_does_not_wait_for_cache_counters(bench: Bench) -> None:
    def interrupt(_: StagePlan) -> None:
        bench.interruption.request_stop(ExitCode.INTERRUPTED)

    server = Server(0, 380)
    bench.run(CHAT_SPEC, ScriptedLoad(bench.clock, on_stage=interrupt), read_metrics=server.read)
    assert len(server.read_endpoints) == 1


@pytest.mark.parametrize(("distinct", "verdict"), [(1, "WARN"), (2, "VALID"), (None, None)])
def test_identical_prompts_are_a_warning(bench: Bench, distinct: int | None, verdict: str | None) -> None:
    report = msgspec.structs.replace(OK, prepared=1_000, distinct=distinct)
    outcome = bench.run(CHAT_SPEC, ScriptedLoad(bench.clock, preflights=(report,)))
    check = check_of(outcome, "prompts")
    assert (None if check is None else check.verdict) == verdict


@pytest.mark.parametrize(("distinct", "has_note"), [(40, True), (60, False)])
def test_frequently_repeated_prompts_are_a_note(bench: Bench, distinct: int, has_note: bool) -> None:
    """Of about 1,000 requests, each prompt is sent 25 or 17 times."""
    report = msgspec.structs.replace(OK, prepared=distinct, distinct=distinct)
    notes = bench.run(CHAT_SPEC, ScriptedLoad(bench.clock, preflights=(report,))).result.notes
    assert any(f"Each of the {distinct} different prompts was sent 2" in note for note in notes) == has_note


@pytest.mark.parametrize(
    ("workload", "has_note"),
    [
        (HttpWorkload("POST", bodies=(b"{}",)), True),
        (HttpWorkload("POST", bodies=(b"{}", b"{}")), True),
        (HttpWorkload("POST", bodies=(b"{}", b"[]")), False),
        (HttpWorkload(), False),
    ],
)
def test_single_body_for_all_requests_is_a_note(bench: Bench, workload: Workload, has_note: bool) -> None:
    outcome = bench.run(msgspec.structs.replace(SPEC, workload=workload))
    assert any("the same body" in note for note in outcome.result.notes) == has_note
    assert outcome.result.verdict.status == "VALID"


@pytest.mark.parametrize(
    ("prompts", "has_lengths"),
    [
        (PROMPTS, True),
        (SyntheticPrompts(FixedLength(5)), False),
        (DatasetPrompts(Dataset("rows.jsonl", "jsonl"), output_tokens="n"), True),
        (DatasetPrompts(Dataset("rows.jsonl", "jsonl")), False),
        (TracePrompts(bytes(4), bytes(4)), True),
    ],
)
def test_output_lengths_are_requested_only_if_the_prompts_have_them(prompts: Prompts, has_lengths: bool) -> None:
    assert has_output_lengths(OpenAiWorkload("chat", "m", prompts)) == has_lengths
    assert not has_output_lengths(OpenAiWorkload("embeddings", "m", prompts))
    assert not has_output_lengths(HttpWorkload())


def test_cache_counters_are_read_around_each_stage_and_stored_in_the_stage(bench: Bench) -> None:
    stages = tuple(msgspec.structs.replace(CHAT_SPEC.stages[0], name=name) for name in ("first", "second"))
    server = Server(100, 480, 500)
    outcome = bench.run(msgspec.structs.replace(CHAT_SPEC, stages=stages), read_metrics=server.read)
    counters = [stage.server for stage in outcome.result.stages if stage.kind != "warmup"]
    assert len(server.read_endpoints) == 3
    assert [None if stage_counters is None else stage_counters.cached_input_tokens for stage_counters in counters] == [
        380,
        20,
    ]


TRACE = TracePrompts(
    struct.pack("<3i", 64, 70, 40), struct.pack("<3i", 1, 1, 1), struct.pack("<5q", 1, 2, 1, 3, 9),
    struct.pack("<3i", 2, 2, 1), block_tokens=40,
)  # fmt: skip
"""The second prompt shares 32 of its 70 tokens in whole blocks of 16. Sent again, they hit 48, 64 and 32."""


@pytest.mark.parametrize(("hits", "served", "reported"), [((0, 380), 0.38, "38 %"), ((), None, "n/a")])
def test_offered_and_served_cache_hits_of_a_trace_are_reported_together(
    bench: Bench, hits: tuple[float, ...], served: float | None, reported: str
) -> None:
    report = msgspec.structs.replace(OK, prepared=3, distinct=3)
    spec = msgspec.structs.replace(SPEC, workload=msgspec.structs.replace(CHAT, prompts=TRACE), warmup_s=6.0)
    load = ScriptedLoad(bench.clock, preflights=(report,))
    outcome = bench.run(spec, load, read_metrics=Server(*hits).read if hits else lambda _: (None,))
    reuse = outcome.result.prefix_reuse
    assert reuse is not None
    assert reuse.offered_share == pytest.approx(144 / 174, abs=1e-3), "all prompts were sent in the warm-up"
    assert (reuse.served_share, reuse.block_tokens) == (served, 16)
    assert any(f"the prompts offer {100 * 144 / 174:.3g} %" in note for note in outcome.result.notes)
    assert any(f"the server reports {reported}." in note for note in outcome.result.notes)
    check = check_of(outcome, "prefix_cache")
    assert (None if check is None else check.verdict) == (None if served is None else "VALID")


def test_stages_continue_with_the_prompts_after_those_of_the_warm_up(bench: Bench) -> None:
    """Prompts that share nothing offer no cache hits as long as no prompt is sent twice."""
    count = 10_000
    prompts = TracePrompts(
        struct.pack("<i", 64) * count, struct.pack("<i", 1) * count, struct.pack(f"<{count}q", *range(count)),
        struct.pack("<i", 1) * count, block_tokens=64,
    )  # fmt: skip
    report = msgspec.structs.replace(OK, prepared=count, distinct=count)
    spec = msgspec.structs.replace(SPEC, workload=msgspec.structs.replace(CHAT, prompts=prompts), warmup_s=6.0)
    outcome = bench.run(spec, ScriptedLoad(bench.clock, preflights=(report,)), read_metrics=lambda _: (None,))
    assert outcome.result.prefix_reuse == PrefixReuse(0.0, None, 16)


@pytest.mark.parametrize(("hits", "expected"), [((0, 10), PrefixReuse(None, 0.01, 16)), ((), None)])
def test_trace_without_hash_ids_has_no_offered_cache_hits(
    bench: Bench, hits: tuple[float, ...], expected: PrefixReuse | None
) -> None:
    report = msgspec.structs.replace(OK, prepared=3, distinct=3)
    prompts = msgspec.structs.replace(TRACE, hash_ids=b"", hash_counts=b"")
    spec = msgspec.structs.replace(SPEC, workload=msgspec.structs.replace(CHAT, prompts=prompts))
    load = ScriptedLoad(bench.clock, preflights=(report,))
    outcome = bench.run(spec, load, read_metrics=Server(*hits).read if hits else lambda _: (None,))
    assert outcome.result.prefix_reuse == expected


@pytest.mark.parametrize(
    ("popularity", "images", "expected"),
    [(Popularity(), None, 48 / 53), (Popularity("uniform"), None, 48 / 53), (Popularity(), Images(), None)],
)
def test_offered_cache_hits_of_documents_are_known_only_without_images(
    bench: Bench, popularity: Popularity, images: Images | None, expected: float | None
) -> None:
    """The shared prefix and document are 48 of 53 tokens of each prompt: only the first prompt computes them."""
    documents = Documents(1, FixedLength(16))
    prompts = SyntheticPrompts(
        FixedLength(5), prefix_groups=1, prefix_tokens=32, documents=documents, images=images, unique=1000
    )
    workload = OpenAiWorkload("chat", "m", prompts, popularity=popularity)
    load = ScriptedLoad(bench.clock, preflights=(msgspec.structs.replace(OK, prepared=1000, distinct=1000),))
    reuse = bench.run(msgspec.structs.replace(SPEC, workload=workload), load).result.prefix_reuse
    hit_share = None if expected is None else pytest.approx(expected * (1 - 1 / len(bench.rows())))
    assert (None if reuse is None else reuse.offered_share) == hit_share
