from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.cli.main import main
from app.cli.progress import open_progress
from app.cli.streams import escape_controls, escape_output, get_text_width
from app.records.events import PhaseChanged
from app.storage.run_directory import RunWriter
from app.wiring.plan_files import PlanFile, write_plan
from tests.fakes import small_plan as fakes
from tests.fakes.results import full_run

pytestmark = pytest.mark.process

LIST_PROFILES = "import sys; from app.__main__ import main; sys.argv[1:] = ['profiles', 'list']; sys.exit(main())"
USE_ALL_STREAMS = """
import os, sys
from app.cli.streams import replace_missing_streams
replace_missing_streams()
sys.stdin.read()
for stream in (sys.stdout, sys.stderr):
    print(stream.isatty(), file=stream, flush=True)
assert [os.get_inheritable(number) for number in (0, 1, 2)] == [True] * 3
sys.exit(7)
"""


def run_with_redirections(redirections: str, code: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$0" "$@" {redirections}', sys.executable, "-c", code]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_command_succeeds_without_standard_output() -> None:
    done = run_with_redirections(">&-", LIST_PROFILES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("redirections", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_closed_by_caller_are_usable(redirections: str) -> None:
    done = run_with_redirections(redirections, USE_ALL_STREAMS)
    assert done.returncode == 7, done.stderr


PRINT_ARGUMENT = """
import sys
from app.cli.streams import replace_unencodable_characters
replace_unencodable_characters()
print(sys.argv[1])
"""

HOSTILE = "red\x1b[31m \x1b]0;title\x07 \x9b2J \x7f\rover"


def add_control_characters(value: Any) -> Any:
    """Return `value` with terminal control characters in the region of each offer and in each text that names it."""
    if isinstance(value, dict):
        return {add_control_characters(key): add_control_characters(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [add_control_characters(item) for item in value]
    return value.replace("here", f"here{HOSTILE}") if isinstance(value, str) else value


def control_characters(text: str) -> set[str]:
    return {
        character for character in text if (ord(character) < 32 or 127 <= ord(character) < 160) and character != "\n"
    }


@pytest.mark.parametrize(
    "command",
    ["simulate PLAN", "simulate PLAN --json", "report PLAN --format text", "runs list", "runs list --json",
     "runs show run --json", "runs show run"],
)  # fmt: skip
def test_control_characters_from_files_are_not_printed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    question = fakes.planning_inputs()
    plan_file = PlanFile("sizewise", fakes.cached_plan(question), question)
    hostile = msgspec.convert(add_control_characters(msgspec.to_builtins(plan_file)), PlanFile)
    write_plan(tmp_path / "plan.yaml", hostile)
    with RunWriter(tmp_path / "runs" / "run") as writer:
        writer.write_result(msgspec.structs.replace(full_run().result, run_id=HOSTILE, name=HOSTILE))
    assert main([{"PLAN": str(tmp_path / "plan.yaml")}.get(word, word) for word in command.split()]) == 0
    out, err = capsys.readouterr()
    assert control_characters(out + err) == set()
    assert "[31m" in out
    if "--json" in command:
        document = json.loads(out)
        row = document[0] if isinstance(document, list) else document
        assert HOSTILE in row.get("offer", row.get("name"))


def test_escaped_json_has_no_control_characters_and_decodes_to_the_same_value() -> None:
    text = msgspec.json.encode({"name": HOSTILE, "next": "a\x85b"}).decode()
    assert control_characters(text) != set()
    assert control_characters(escape_controls(text)) == set()
    assert json.loads(escape_controls(text)) == {"name": HOSTILE, "next": "a\x85b"}
    assert r"a\u0085b" in escape_controls(text)


def test_progress_view_emits_cursor_codes_but_escapes_those_in_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with escape_output(), open_progress() as progress:
        progress.show(PhaseChanged(1, "doctor", HOSTILE))
    assert "\x1b[?25l" in terminal.getvalue()
    assert "\x1b[31m" not in terminal.getvalue()
    assert r"red\u001b[31m" in terminal.getvalue()


@pytest.mark.parametrize(
    ("columns", "is_terminal", "width"),
    [(100, True, 100), (200, True, 120), (90, True, 90), (20, True, 72), (200, False, 100)],
)
def test_text_width_follows_terminal_width_within_limits(
    columns: int, is_terminal: bool, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    assert get_text_width(stream) == width


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("p95 ≤ 50 ms · 1–2 × 3 €", "p95 <= 50 ms | 1-2 x 3 EUR"),
        ("ümlaut 🙂", "\\u00fcmlaut \\ud83d\\ude42"),
        ("name\udc80", "name\\udc80"),
    ],
)
def test_characters_outside_output_encoding_are_replaced(text: str, plain: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_ARGUMENT, text], env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout.decode().rstrip()) == (0, plain), done.stderr


def test_json_stays_valid_when_output_encoding_is_ascii() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    document = json.dumps({"name": "ü🙂±"}, ensure_ascii=False)
    done = subprocess.run(
        [sys.executable, "-c", PRINT_ARGUMENT, document], env=environment, capture_output=True, check=True
    )
    assert json.loads(done.stdout) == {"name": "ü🙂+/-"}


@pytest.mark.parametrize("arguments", [["runs", "show", "last"], ["profiles", "keys"]])
def test_commands_succeed_with_ascii_output_encoding(arguments: list[str], tmp_path: Path) -> None:
    with RunWriter(tmp_path / "runs" / "run-1") as writer:
        writer.write_result(full_run().result)
    environment = {**os.environ, "SIZEWISE_HOME": str(tmp_path), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", "import sys; from app.__main__ import main; sys.exit(main())", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
