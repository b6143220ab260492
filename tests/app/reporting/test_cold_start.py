from __future__ import annotations

from app.reporting.cold_start import cold_start_parts
from tests.fakes.results import full_run
from tests.fakes.traffic import streaming_run


def test_a_cold_start_is_told_part_by_part_and_what_it_never_came_to_by_its_reason() -> None:
    parts = {part.name: part.quantity for part in cold_start_parts(streaming_run().result)}
    assert [(name, one.value) for name, one in parts.items()] == [
        ("ready", 8_200.0), ("first answer", 9_050.0), ("steady answers", None),
    ]  # fmt: skip
    assert parts["steady answers"].reason == "the medians never agreed"


def test_a_target_that_was_up_has_none() -> None:
    assert cold_start_parts(full_run().result) == ()
