from __future__ import annotations

from app.gui.results import frames
from app.records.local import GenerationTest
from app.reporting.local import build_local_section
from reports.quantity import Quantity
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
