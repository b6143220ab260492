from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.generation.variant import OpenGenerativeVariant
from app.inference.job import CallRows, Measure, MeasurementStarted, Report, VariantJob
from app.records.calls import COLUMNS
from app.records.local import GenerationTest
from tests.fakes import decoders


def open_variant(folder: Path, batch: int = 1) -> OpenGenerativeVariant:
    return OpenGenerativeVariant(
        VariantJob(model=str(folder), provider="cpu", batch=batch, is_language_model=True), 0, 0.0
    )


def measure(
    variant: OpenGenerativeVariant, test: GenerationTest, batch: int = 1, *, min_calls: int = 3
) -> tuple[list[Report], np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    """Measure a test with exactly `min_calls` repetitions after at least one of warm-up: the confidence interval may be
    of any width."""
    reports: list[Report] = []
    command = Measure(
        scenario="generation",
        batch=batch,
        streams=1,
        min_duration_s=0.0,
        max_duration_s=600.0,
        half_width=1e9,
        min_calls=min_calls,
        max_warmup_s=0.0,
        test=test,
    )
    variant.measure(command, reports.append)
    packed_rows = b"".join(report.packed for report in reports if isinstance(report, CallRows))
    return reports, np.frombuffer(packed_rows, np.int64).reshape(-1, len(COLUMNS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoders.contiguous(tmp_path_factory.mktemp("decoder") / "model")


@pytest.fixture(scope="module")
def single_variant(folder: Path) -> OpenGenerativeVariant:
    return open_variant(folder)


@pytest.mark.parametrize(
    ("test", "steps"),
    [
        (GenerationTest(16, 0), 1),
        (GenerationTest(0, 4), 4),
        (GenerationTest(16, 4), 4),
        (GenerationTest(16, 1), 1),
        (GenerationTest(0, 4, 32), 4),
        (GenerationTest(16, 4, 32), 4),
    ],
    ids=lambda value: value.name if isinstance(value, GenerationTest) else str(value),
)
def test_each_repetition_has_the_decode_steps_of_its_test(
    single_variant: OpenGenerativeVariant, test: GenerationTest, steps: int
) -> None:
    reports, rows = measure(single_variant, test)
    started = [report for report in reports if isinstance(report, MeasurementStarted)]
    assert len(started) == 1
    assert started[0].warmup_windows == 1
    assert Counter(rows[:, 0].tolist()) == dict.fromkeys(range(4), steps), "one repetition of warm-up, and three"
    begin_ns, executed_ns, end_ns = (rows[:, COLUMNS.index(name)] for name in ("begin_ns", "executed_ns", "end_ns"))
    assert (begin_ns < executed_ns).all()
    assert (executed_ns <= end_ns).all()
    assert (begin_ns[1:] >= end_ns[:-1]).all()
    assert (begin_ns[steps:] >= started[0].start_ns).all()


def test_batch_runs_all_sequences_in_one_step(folder: Path) -> None:
    variant = open_variant(folder, batch=3)
    for test, steps in ((GenerationTest(16, 4), 4), (GenerationTest(0, 4, 32), 4)):
        _, rows = measure(variant, test, batch=3)
        assert Counter(rows[:, 0].tolist()) == dict.fromkeys(range(4), steps)


def test_generation_test_beyond_the_context_is_rejected(single_variant: OpenGenerativeVariant) -> None:
    with pytest.raises(UsageError, match=r"tg8 @ d2,?040 needs 2,050 tokens, but the context of .* is 2,048 tokens"):
        measure(single_variant, GenerationTest(0, 8, 2040))


def test_opened_report_of_language_model_has_load_times_and_memory(single_variant: OpenGenerativeVariant) -> None:
    report = single_variant.build_opened_report()
    assert report.session_build_ms > 0
    assert report.first_inference_ms > 0
    assert report.memory_bytes is None or report.memory_bytes > 2**20
    assert (report.provider_used, report.placements) == ("cpu", ())
