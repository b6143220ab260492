from __future__ import annotations

from msgspec.structs import replace

from app.analysis.sweeps import heaviest_held, lightest_failed
from app.records.result import IN_SWEEP, Stage, Verdict
from tests.fakes.traffic import clients_run

STAGE = next(stage for stage in clients_run().result.stages if stage.kind == "closed")


def swept(clients: int, held: bool | None) -> Stage:
    return replace(STAGE, tags={IN_SWEEP: "yes"}, concurrency=clients, held=held, verdict=Verdict("VALID"))


def test_the_heaviest_load_below_the_lightest_that_failed_is_the_answer() -> None:
    stages = [swept(1, True), swept(2, True), swept(4, True), swept(8, False), swept(16, True), swept(32, False)]
    assert heaviest_held(stages) == (stages[2],)
    assert lightest_failed(stages) is stages[3]


def test_every_repeat_of_a_load_must_hold() -> None:
    stages = [swept(1, True), swept(1, True), swept(2, True), swept(2, False)]
    assert heaviest_held(stages) == tuple(stages[:2])


def test_what_is_invalid_cut_short_or_of_no_sweep_tells_nothing() -> None:
    spoilt = replace(swept(1, False), verdict=Verdict("INVALID", ("late",)))
    asked_for = replace(swept(64, True), tags={})
    stages = [spoilt, swept(2, True), swept(4, None), asked_for]
    assert heaviest_held(stages) == (stages[1],)
    assert lightest_failed(stages) is None
    assert heaviest_held([swept(1, False)]) == ()
    assert heaviest_held([swept(1, None)]) == ()


def test_rates_count_as_clients_do() -> None:
    stages = [
        replace(swept(1, held), concurrency=None, scheduled_per_s=rate) for rate, held in ((50, True), (90, False))
    ]
    assert heaviest_held(stages) == (stages[0],)
