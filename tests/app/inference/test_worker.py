"""The variant process by itself, as any parent process sees it."""

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


def start_worker(model: Path, memory_limit_bytes: int | None = None) -> subprocess.Popen[bytes]:
    variant_job = VariantJob(model=str(model), provider="cpu", batch=1, memory_limit_bytes=memory_limit_bytes)
    job = msgspec.json.encode(variant_job).decode()
    return subprocess.Popen(
        [sys.executable, "-m", "app.inference.worker", job],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_failed_worker_writes_only_a_report_and_exits_with_its_code(tmp_path: Path) -> None:
    with start_worker(tmp_path / "nowhere.onnx") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        report = read_report(child.stdout)
        assert isinstance(report, VariantFailed)
        assert (report.exit_code, "does not exist" in report.message) == (ExitCode.USAGE, True)
        assert read_report(child.stdout) is None
        assert (child.wait(60), child.stderr.read()) == (ExitCode.USAGE, b""), "it exits although its input is open"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited only on Linux")
def test_worker_with_too_small_memory_limit_reports_a_hint() -> None:
    """The limit is too small for the libraries of NumPy."""
    with start_worker(DIGITS_MODEL, memory_limit_bytes=2**24) as child:
        assert child.stdout is not None
        report = read_report(child.stdout)
    assert isinstance(report, VariantFailed)
    assert report.exit_code == ExitCode.INVALID
    assert report.hint == "Increase limits.memory, free memory, or use a smaller batch."
    assert not report.message.endswith("MemoryError")


def test_worker_exits_during_a_measurement_if_its_parent_closes() -> None:
    with start_worker(DIGITS_MODEL) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert isinstance(read_report(child.stdout), VariantOpened)
        write_message(child.stdin, plan_of("single-stream", max_s=300.0))
        read_report(child.stdout)
        child.stdin.close()
        remaining_reports = io.BytesIO(child.stdout.read())
        assert child.wait(60) == ExitCode.TERMINATED
    while (report := read_report(remaining_reports)) is not None:
        assert not isinstance(report, VariantMeasured)
