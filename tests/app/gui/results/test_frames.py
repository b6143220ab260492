from __future__ import annotations

from types import SimpleNamespace

from app.gui.results import frames
from app.records.local import GenerationTest
from app.reporting.local import build_local_section
from reports.quantity import Quantity
from reports.sections.section import Column, Section, Table
from tests.fakes.language_model_runs import TESTS, language_model_run


def test_language_model_frame_has_a_row_per_test_and_columns_with_values() -> None:
    local = build_local_section(language_model_run().result)
    assert local is not None
    frame, invalid_rows, hints = frames.language_model_frame(local)
    assert list(frame["test"]) == [
        "pp512", "tg16", "pp512+tg16", "tg16 @ d1024", "pp512 #2", *(test.name for test in TESTS), "out of memory."
    ]  # fmt: skip
    assert list(frame.columns) == list(frames.TEST_HEADERS)
    assert isinstance(frame["prefill"][0], Quantity)
    assert frame["decode"][0] == "–", "a prompt alone is not decoded"
    assert frame["variant"].unique().tolist() == ["batch 1 (best)", "batch 2", "batch 64 (ended early)"]
    assert invalid_rows == ()
    assert "drift" in hints[4]
    assert hints[9] == "out of memory."


def test_language_model_frame_omits_columns_without_values() -> None:
    local = build_local_section(language_model_run(tests=(GenerationTest(512, 0),)).result)
    assert local is not None
    frame, _, _ = frames.language_model_frame(local)
    assert list(frame.columns) == ["variant", "slo", "test", "prefill", "e2e", "repetitions", "measurement"]


def test_numbers_of_a_section_stay_numbers_which_are_sorted_by_value() -> None:
    section = Section[SimpleNamespace](
        name="numbers",
        title="Numbers",
        columns=(Column("name", "name"), *(Column(key, key) for key in ("count", "partial", "ms", "flag"))),
        layouts={"window": "name | count partial ms flag"},
    )
    rows = (
        SimpleNamespace(name="a", count=1, partial=1024, ms=9.5, flag=True),
        SimpleNamespace(name="b", count=20, partial=None, ms=10.25, flag=None),
    )
    section_frame = frames.build_section_frame(section, Table(rows=rows))
    assert section_frame.quantities == {"partial", "ms"}
    assert section_frame.frame["count"].dtype == "int64"
    assert [list(section_frame.frame[key]) for key in ("partial", "ms", "flag")] == [
        [1024, "n/a"], [9.5, 10.25], ["yes", "n/a"]
    ]  # fmt: skip
