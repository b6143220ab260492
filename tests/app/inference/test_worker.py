"""The child by itself, as a parent that is not ours would find it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from app.errors import ExitCode
from app.inference.job import VariantFailed, VariantJob, VariantMeasured, VariantOpened, read_report, write_message
from app.inference.probe import DIGITS_MODEL
from tests.fakes.callers import plan_of

pytestmark = pytest.mark.process


def started(model: Path, memory_limit_bytes: int | None = None) -> subprocess.Popen[bytes]:
    order = VariantJob(model=str(model), provider="cpu", batch=1, memory_limit_bytes=memory_limit_bytes)
    job = msgspec.json.encode(order).decode()
    return subprocess.Popen(
        [sys.executable, "-m", "app.inference.worker", job],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_failure_is_a_report_and_an_exit_code_and_nothing_else(tmp_path: Path) -> None:
    with started(tmp_path / "nowhere.onnx") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        report = read_report(child.stdout)
        assert isinstance(report, VariantFailed)
        assert (report.exit_code, "does not exist" in report.message) == (ExitCode.USAGE, True)
        assert read_report(child.stdout) is None
        assert (child.wait(60), child.stderr.read()) == (ExitCode.USAGE, b""), "with nobody closing its input"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is limited")
def test_a_limit_that_is_too_small_is_reported_in_words_of_what_to_do() -> None:
    """So small a one that NumPy's own libraries have no room."""
    with started(DIGITS_MODEL, memory_limit_bytes=2**24) as child:
        assert child.stdout is not None
        report = read_report(child.stdout)
    assert isinstance(report, VariantFailed)
    assert report.exit_code == ExitCode.INVALID
    assert report.hint == "Increase limits.memory, free memory, or use a smaller batch."
    assert not report.message.endswith("MemoryError")


def test_it_leaves_with_its_parent_amid_a_measurement() -> None:
    with started(DIGITS_MODEL) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert isinstance(read_report(child.stdout), VariantOpened)
        write_message(child.stdin, plan_of("single-stream", most_s=300.0))
        read_report(child.stdout)
        child.stdin.close()
        said = io.BytesIO(child.stdout.read())
        assert child.wait(60) == ExitCode.TERMINATED
    while (report := read_report(said)) is not None:
        assert not isinstance(report, VariantMeasured)
