from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.profiles.stages import StageSettings
from app.wiring.replay import lengths_of, replay


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("timestamp,input_tokens,output_tokens\n100,1,10\n101,2,20\n101,3,30\n104,4,40\n")
    return path


def stage(trace: Path, **keys: Any) -> StageSettings:
    context = {"directory": trace.parent, "files_must_exist": True}
    return StageSettings.model_validate({"trace": "trace.csv", **keys}, context=context)


def test_a_trace_comes_as_recorded_to_its_end(trace: Path) -> None:
    replayed = replay(stage(trace), seed=1)
    assert replayed.offsets_ns.tolist() == [0, 10**9, 10**9, 4 * 10**9]
    assert replayed.duration_s * 1e9 > 4 * 10**9


def test_it_may_go_faster_and_begin_with_a_lead_in(trace: Path) -> None:
    replayed = replay(stage(trace, speed="2x", lead_in="1s"), seed=1)
    assert replayed.offsets_ns.tolist() == [-(10**9), -5 * 10**8, -5 * 10**8, 10**9]
    assert replayed.duration_s == pytest.approx(1.0, abs=0.01)


def test_it_may_be_cut(trace: Path) -> None:
    assert replay(stage(trace, duration="2s"), seed=1).duration_s == 2.0


def test_copies_are_laid_over_each_other_by_the_seed(trace: Path) -> None:
    replayed = replay(stage(trace, superpose=3), seed=1)
    assert len(replayed.offsets_ns) == 12
    assert (np.diff(replayed.offsets_ns) >= 0).all()
    assert replayed.offsets_ns[0] >= 0
    assert replayed.offsets_ns[-1] < replayed.duration_s * 1e9
    assert sorted(replayed.rows.tolist()) == sorted([0, 1, 2, 3] * 3)
    assert set(replay(stage(trace), 1).offsets_ns.tolist()) <= set(replayed.offsets_ns.tolist())
    assert replay(stage(trace, superpose=3), seed=1).offsets_ns.tolist() == replayed.offsets_ns.tolist()
    assert replay(stage(trace, superpose=3), seed=2).offsets_ns.tolist() != replayed.offsets_ns.tolist()


def test_lengths_go_with_their_arrivals(trace: Path) -> None:
    copies = stage(trace, superpose=2)
    inputs, outputs = (np.frombuffer(lengths, "<i4") for lengths in lengths_of(trace, copies, seed=1))
    assert inputs.tolist() == (replay(copies, seed=1).rows + 1).tolist()
    assert (outputs == inputs * 10).all()
    assert np.frombuffer(lengths_of(trace, None, seed=1)[0], "<i4").tolist() == [1, 2, 3, 4]
