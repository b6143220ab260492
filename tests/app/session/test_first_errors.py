from __future__ import annotations

import msgspec

from app.records.events import ErrorSeen, Event, Snapshot, StageFinished
from app.records.result import ErrorSample
from app.session.first_errors import FirstErrors
from app.session.spec import StageSpec
from loadgen.records import FirstError
from tests.fakes.bench import SPEC, Bench, poisson
from tests.fakes.load import ScriptedLoad


def test_what_was_seen_is_told_once_a_run_and_kept_of_each_stage(bench: Bench) -> None:
    stages = tuple(StageSpec(name, "steady", poisson(100.0), 3.0) for name in ("one", "two"))
    load = ScriptedLoad(bench.clock, error="http-5xx", error_share=0.25)
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=stages), load)
    (seen,) = bench.told(ErrorSeen)
    assert (seen.stage, seen.sample.error, seen.sample.text) == (0, "http-5xx", "seen http-5xx")
    assert bench.events.index(seen) < bench.events.index(bench.told(Snapshot)[0])
    facts = [event.facts.error_samples for event in bench.told(StageFinished)]
    assert [[one.text for one in each] for each in facts] == [["seen http-5xx"]] * 2
    assert [stage.error_samples for stage in outcome.result.stages] == facts
    assert facts[0][0] == seen.sample


def test_a_run_without_errors_tells_of_none(bench: Bench) -> None:
    outcome = bench.run(SPEC)
    assert bench.told(ErrorSeen) == []
    assert outcome.result.stages[0].error_samples == ()


def test_no_more_classes_are_told_than_anybody_reads() -> None:
    told: list[Event] = []
    errors = FirstErrors(told.append)
    kept = errors.take([FirstError(f"class {number}", number, "seen") for number in range(60)], 0, 100)
    assert len(told) == 50
    assert kept[0] == ErrorSample("class 0", 0, "seen")
    errors.take([FirstError("class 0", 7, "again"), FirstError("another", 8, "too many")], 1, 200)
    assert len(told) == 50
