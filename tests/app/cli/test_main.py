from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from app import __version__
from app.cli import doctor
from app.cli.colors import print_with_colors
from app.cli.main import main
from app.errors import ExitCode
from app.records.trial import Failure
from reports.marks import mark_status

COMMANDS = (
    "quickstart", "run", "plan", "simulate", "report", "serve", "calibrate", "doctor", "models", "offers", "profiles",
    "runs", "worker",
)  # fmt: skip
HEAVY = ("pandas", "numpy", "pyarrow", "pydantic", "rich", "onnx", "onnxruntime", "locust", "altair", "psutil")


@pytest.mark.process
def test_the_version_costs_no_heavy_import() -> None:
    code = "import sys; from app.cli.main import main; main(['--version'])"
    watch = f"import atexit, sys; atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{watch}; {code}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"sizewise {__version__}", "[]"]


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == ExitCode.USAGE
    assert "COMMAND" in capsys.readouterr().err


def test_our_errors_are_two_lines_and_their_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "check", "quickstrat"]) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: quickstrat is neither a file nor a bundled profile"
    assert hint == "hint: Did you mean 'quickstart'?"


def test_an_error_is_reported_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--error-json", "profiles", "check", "quick\x1bstrat"])
    *_, line = capsys.readouterr().err.splitlines()
    failure = msgspec.json.decode(line, type=Failure)
    assert failure.message == "quick\\u001bstrat is neither a file nor a bundled profile"
    assert (failure.exit_code, failure.hint) == (ExitCode.USAGE, "Did you mean 'quickstart'?")


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    main(["runs", "show", "no-such-run", "--debug"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("limit", "command", "error"),
    [
        (7, "doctor", "error: the limit of open files was reached"),
        (10, "run local-model --out run", "could not be written: Too many open files"),
    ],
)
def test_a_limit_of_open_files_that_is_too_low_is_no_bug(tmp_path: Path, limit: int, command: str, error: str) -> None:
    script = f"ulimit -n {limit}; exec {sys.executable} -P -m app {command}"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == ExitCode.LIMIT, done.stderr
    reported, hint = done.stderr.splitlines()[-2:]
    assert error in reported
    assert hint.startswith("hint: Raise the limit of open files: `ulimit -n 1024`")


@pytest.mark.parametrize(
    "argv",
    [["--color", "always", "doctor"], ["doctor", "--color", "always"], ["doctor", "--color=always"]],
)
def test_colors_can_be_chosen_before_and_after_the_command(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(_: argparse.Namespace) -> int:
        print_with_colors(mark_status("PASS"))
        return 0

    monkeypatch.setattr(doctor, "execute", execute)
    assert main(argv) == 0
    assert capsys.readouterr().out == "\x1b[32mPASS\x1b[0m\n"
    assert main(["doctor", "--color", "never"]) == 0
    assert capsys.readouterr().out == "PASS\n"
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--color", "sometimes"])
    assert left.value.code == ExitCode.USAGE


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        assert f"sizewise {command}" in capsys.readouterr().out


def test_the_bundled_profiles_are_listed_and_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert "quickstart" in listed
    for name in listed:
        assert main(["profiles", "check", name]) == 0
        assert main(["profiles", "show", name]) == 0


@pytest.mark.parametrize("seconds", ["0", "601", "soon"])
def test_seconds_beyond_reason_are_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["quickstart", "--seconds", seconds])
    assert left.value.code == ExitCode.USAGE
    assert "--seconds" in capsys.readouterr().err
