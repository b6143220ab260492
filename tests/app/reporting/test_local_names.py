from __future__ import annotations

import pytest

from app.records.result import Variant
from app.reporting.local_names import common_of, families_of, names_of
from tests.fakes.local_runs import variant

_GRID = [variant(precision, batch) for precision in ("as-is", "fp16") for batch in (1, 8)]


def test_names_tell_what_differs_and_the_rest_is_common() -> None:
    assert list(names_of(_GRID).values()) == ["as-is, batch 1", "as-is, batch 8", "fp16, batch 1", "fp16, batch 8"]
    assert common_of(_GRID) == "digits cpu, 1 stream, 1 thread"


def test_families_leave_the_batch_out() -> None:
    assert list(families_of(_GRID).values()) == ["as-is", "as-is", "fp16", "fp16"]
    assert set(families_of(_GRID[:2]).values()) == {"digits"}


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ([variant(model="teacher"), variant(model="student")], ["teacher", "student"]),
        ([variant(provider="cuda"), variant("fp16")], ["cuda as-is", "cpu fp16"]),
        ([variant(streams=1), variant(streams=2)], ["1 stream", "2 streams"]),
        (
            [Variant("m", "cuda", "as-is", 1, 1, 1, ("0",)), Variant("m", "cuda", "as-is", 1, 1, 1, ("0", "1"))],
            ["devices 0", "devices 0 + 1"],
        ),
        ([variant()], ["digits cpu as-is, batch 1"]),
    ],
)
def test_any_setting_may_be_what_differs(others: list[Variant], names: list[str]) -> None:
    assert list(names_of(others).values()) == names


def test_of_no_variant_nothing_is_common() -> None:
    assert common_of([]) == ""
