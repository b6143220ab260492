from __future__ import annotations

import subprocess
import sys

import pytest

from app.errors import UnavailableError
from app.inference.child import run_reporting_errors

pytestmark = pytest.mark.process


def test_child_reports_an_error_as_json_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UnavailableError("no such provider", hint="use cpu")

    assert run_reporting_errors(main) == 3
    assert capsys.readouterr().err == '{"type":"failure","exit_code":3,"message":"no such provider","hint":"use cpu"}\n'


def test_child_exits_when_its_standard_input_closes() -> None:
    program = "from app.inference.child import exit_with_parent as f; f(); import threading; threading.Event().wait()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 143
