from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.inference.output_capture import captured_output

PROGRAM = """
import os
from app.inference.output_capture import captured_output
with captured_output() as captured:
    os.write(2, b"native ")
    print("python")
print("captured:", captured.text, end="")
"""


def test_native_and_python_output_are_kept_back() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert run.stdout.decode().split() == ["captured:", "native", "python"]
    assert run.stderr == b""


def test_streams_come_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), captured_output():
        os.write(1, b"inside\n" * (1 // 0))
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
