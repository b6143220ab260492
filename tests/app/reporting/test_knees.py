from __future__ import annotations

import msgspec

from app.records.result import Knee
from app.reporting.knees import knee_section
from tests.fakes.results import full_run


def test_each_method_is_told_with_its_load_or_its_reason() -> None:
    knees = (
        Knee("power", "rate", 100.0, 20.0),
        Knee("chord", "rate", 120.0, 25.0),
        Knee("two lines", "rate", None, None, "two lines fit the curve little better than one"),
    )
    section = knee_section(msgspec.structs.replace(full_run().result, knees=knees))
    assert section is not None
    assert [(row.name, row.at.value, row.at.unit, row.latency.value) for row in section.rows] == [
        ("power", 100.0, "1/s", 20.0),
        ("chord", 120.0, "1/s", 25.0),
        ("two lines", None, "1/s", None),
    ]
    assert section.rows[2].at.reason == "two lines fit the curve little better than one"
    assert section.note is None


def test_methods_that_disagree_by_more_than_30_percent_are_said_to() -> None:
    knees = (Knee("power", "clients", 4.0, 20.0), Knee("chord", "clients", 5.3, 25.0))
    section = knee_section(msgspec.structs.replace(full_run().result, knees=knees))
    assert section is not None
    assert "disagree by more than 30 %" in str(section.note)
    assert section.rows[0].at.unit == "clients"
    assert knee_section(full_run().result) is None
