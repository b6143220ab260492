from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.inference.output_capture import capture_output

pytestmark = pytest.mark.process

PROGRAM = """
import os
from app.inference.output_capture import capture_output
with capture_output() as captured:
    os.write(2, b"native ")
    print("python")
print("captured:", captured.text, end="")
"""


def test_native_and_python_output_are_captured() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert run.stdout.decode().split() == ["captured:", "native", "python"]
    assert run.stderr == b""


def test_output_streams_are_restored_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), capture_output():
        os.write(1, b"inside\n" * (1 // 0))
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


def test_only_reports_are_written_to_reserved_standard_output() -> None:
    program = """
import os
from app.inference.output_capture import capture_output, reserve_stdout_for_reports
with reserve_stdout_for_reports() as reports:
    os.write(1, b"native ")
    print("python")
    with capture_output():
        os.write(1, b"kept back")
    reports.write(b"a report")
    reports.flush()
    os.write(1, b"native again")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert run.stdout == b"a report"
    assert run.stderr.split() == [b"native", b"python", b"native", b"again"]
