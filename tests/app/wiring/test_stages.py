from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.profiles.load import LoadSettings, StageSettings
from app.session.spec import RateShare
from app.wiring.stages import build_stages, build_trace_prompts, replay_trace
from loadgen.arrivals import compute_offsets_ns
from loadgen.payloads.prompts import iterate_trace_requests
from loadgen.records import ClosedArrivals, OpenArrivals, TraceArrivals


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("timestamp,input_tokens,output_tokens\n100,1,10\n101,2,20\n101,3,30\n104,4,40\n")
    return path


def stage(trace: Path, **keys: Any) -> StageSettings:
    context = {"directory": trace.parent, "files_must_exist": True}
    return StageSettings.model_validate({"trace": "trace.csv", **keys}, context=context)


def test_trace_is_replayed_as_recorded_to_its_end(trace: Path) -> None:
    replayed = replay_trace(stage(trace), seed=1)
    assert replayed.offsets_ns.tolist() == [0, 10**9, 10**9, 4 * 10**9]
    assert replayed.duration_s * 1e9 > 4 * 10**9


def test_trace_replay_may_be_accelerated_and_have_a_lead_in(trace: Path) -> None:
    replayed = replay_trace(stage(trace, speed="2x", lead_in="1s"), seed=1)
    assert replayed.offsets_ns.tolist() == [-(10**9), -5 * 10**8, -5 * 10**8, 10**9]
    assert replayed.duration_s == pytest.approx(1.0, abs=0.01)


def test_trace_replay_may_be_cut_to_a_duration(trace: Path) -> None:
    assert replay_trace(stage(trace, duration="2s"), seed=1).duration_s == 2.0


def test_superposed_copies_of_a_trace_are_shifted_by_the_seed(trace: Path) -> None:
    replayed = replay_trace(stage(trace, superpose=3), seed=1)
    assert len(replayed.offsets_ns) == 12
    assert (np.diff(replayed.offsets_ns) >= 0).all()
    assert replayed.offsets_ns[0] >= 0
    assert replayed.offsets_ns[-1] < replayed.duration_s * 1e9
    assert sorted(replayed.rows.tolist()) == sorted([0, 1, 2, 3] * 3)
    assert set(replay_trace(stage(trace), 1).offsets_ns.tolist()) <= set(replayed.offsets_ns.tolist())
    assert replay_trace(stage(trace, superpose=3), seed=1).offsets_ns.tolist() == replayed.offsets_ns.tolist()
    assert replay_trace(stage(trace, superpose=3), seed=2).offsets_ns.tolist() != replayed.offsets_ns.tolist()


def test_token_lengths_of_a_trace_match_their_arrivals(trace: Path) -> None:
    copies = stage(trace, superpose=2)
    prompts = build_trace_prompts(trace, copies, 1, 512)
    inputs, outputs = (np.frombuffer(lengths, "<i4") for lengths in (prompts.input_tokens, prompts.output_tokens))
    assert inputs.tolist() == (replay_trace(copies, seed=1).rows + 1).tolist()
    assert (outputs == inputs * 10).all()
    assert (prompts.hash_ids, prompts.hash_counts) == (b"", b"")
    assert np.frombuffer(build_trace_prompts(trace, None, 1, 512).input_tokens, "<i4").tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("max_duration_s", "lead_in", "prompt_count"),
    [(None, "0s", 4), (0.5, "0s", 1), (1.0, "0s", 1), (1.1, "0s", 3), (4.0, "3s", 3), (9.0, "3s", 4), (0.0, "0s", 1)],
)
def test_prompts_of_a_trace_beyond_the_duration_are_not_built(
    trace: Path, max_duration_s: float | None, lead_in: str, prompt_count: int
) -> None:
    prompts = build_trace_prompts(trace, stage(trace, lead_in=lead_in), 1, 512, max_duration_s)
    assert np.frombuffer(prompts.input_tokens, "<i4").tolist() == [1, 2, 3, 4][:prompt_count]


def test_hash_ids_match_their_arrivals_and_differ_between_copies(tmp_path: Path) -> None:
    rows = [(0, 30, [7]), (1000, 70, [7, 2, 3]), (1500, 0, []), (4000, 64, [5, 2])]
    (tmp_path / "trace.jsonl").write_text(
        "".join(
            f'{{"timestamp": {at}, "input_length": {tokens}, "output_length": 1, "hash_ids": {ids}}}\n'
            for at, tokens, ids in rows
        )
    )
    once = build_trace_prompts(tmp_path / "trace.jsonl", None, 1, 32)
    assert [blocks for blocks, _, _ in iterate_trace_requests(once)] == [
        [(7, 30)], [(7, 32), (2, 32), (3, 6)], [], [(5, 32), (2, 32)]
    ]  # fmt: skip
    context = {"directory": tmp_path, "files_must_exist": True}
    copies = StageSettings.model_validate({"trace": "trace.jsonl", "superpose": 3}, context=context)
    replayed = replay_trace(copies, 1)
    twice = build_trace_prompts(tmp_path / "trace.jsonl", copies, 1, 32)
    partial = list(iterate_trace_requests(build_trace_prompts(tmp_path / "trace.jsonl", copies, 1, 32, 2.0)))
    assert 1 < len(partial) < len(replayed.rows)
    assert partial == list(iterate_trace_requests(twice))[: len(partial)]
    ids_by_copy: dict[int, set[int]] = {}
    for row, copy, (blocks, _, _) in zip(replayed.rows, replayed.copies, iterate_trace_requests(twice), strict=True):
        ids = [block_id for block_id, _ in blocks]
        assert [block_id % 2**53 for block_id in ids] == rows[row][2]
        ids_by_copy.setdefault(copy, set()).update(ids)
    assert ids_by_copy[0] == {2, 3, 5, 7}
    assert len(set.union(*ids_by_copy.values())) == 12


def load(*stages: dict[str, Any], directory: Path = Path("/"), **more: Any) -> LoadSettings:
    context = {"directory": directory, "files_must_exist": True}
    return LoadSettings.model_validate({"stages": list(stages), **more}, context=context)


def test_repeats_of_a_stage_are_separate_stages() -> None:
    stages = build_stages(load({"rate": "5/s", "duration": "2s", "lead_in": "1s", "repeats": 2}))
    assert [stage.repeat for stage in stages] == [1, 2]
    assert stages[0].load.arrivals == OpenArrivals("poisson", ((0.0, 5.0),))
    assert (stages[0].kind, stages[0].load.duration_s, stages[0].load.lead_in_s) == ("steady", 2.0, 1.0)


def test_relative_rate_of_a_closed_loop_becomes_a_rate_share() -> None:
    closed, opened = build_stages(
        load(
            {"name": "closed", "concurrency": 8, "think_time": "100ms", "duration": "2s"},
            {"name": "open", "rate": "80% of closed", "duration": "2s"},
        )
    )
    assert closed.load.arrivals == ClosedArrivals(8, 0.1)
    assert closed.kind == "closed"
    assert opened.rate_share == RateShare("closed", 0.8)
    assert opened.load.arrivals == OpenArrivals("poisson", ((0.0, 1.0),))


def test_spike_has_the_requested_numbers_of_requests() -> None:
    spike = {"base": "50/s", "peak": "300/s", "at": "2s", "for": "1s"}
    (stage,) = build_stages(load({"arrivals": "constant", "spike": spike, "duration": "5s"}))
    assert isinstance(stage.load.arrivals, OpenArrivals)
    at_s = compute_offsets_ns(stage.load.arrivals, 5.0, 0.0, seed=1) / 1e9
    assert np.histogram(at_s, [0, 2, 3, 5])[0].tolist() == [100, 300, 100]


def test_trace_stage_sends_every_request_of_the_trace(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("timestamp\n0\n1\n4\n")
    (stage,) = build_stages(load({"trace": "trace.csv"}, directory=tmp_path))
    assert isinstance(stage.load.arrivals, TraceArrivals)
    assert stage.kind == "varying"
    assert compute_offsets_ns(stage.load.arrivals, stage.load.duration_s, 0.0, seed=1).tolist() == [0, 10**9, 4 * 10**9]


def test_sweep_stages_come_last_and_are_named_by_their_load() -> None:
    stages = build_stages(load({"rate": "5/s", "duration": "2s"}, sweep={"rates": ["50/s", "100/s"], "repeats": 2}))
    assert [(stage.name, stage.kind, stage.repeat, stage.is_in_sweep) for stage in stages] == [
        ("steady", "steady", 1, False),
        ("sweep 50 req/s", "steady", 1, True),
        ("sweep 50 req/s", "steady", 2, True),
        ("sweep 100 req/s", "steady", 1, True),
        ("sweep 100 req/s", "steady", 2, True),
    ]
    assert stages[-1].load.arrivals == OpenArrivals("poisson", ((0.0, 100.0),))
    first, second = build_stages(load(sweep={"max_concurrency": 2}))
    assert (first.name, first.load.arrivals, second.name) == (
        "sweep 1 client",
        ClosedArrivals(1, 0.0),
        "sweep 2 clients",
    )
