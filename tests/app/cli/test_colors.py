"""Colors of verdicts on a terminal."""

import io
import sys

import pytest

from app.cli.colors import color_verdicts, print_with_colors
from app.cli.streams import escape_output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_verdicts_are_colored_and_other_words_are_not() -> None:
    assert color_verdicts("PASS clock, INVALID run") == "\x1b[32mPASS\x1b[0m clock, \x1b[31mINVALID\x1b[0m run"
    assert color_verdicts("WARN: x") == "\x1b[33mWARN\x1b[0m: x"
    assert color_verdicts("pass, PASSED, run-FAIL, WARNING") == "pass, PASSED, run-FAIL, WARNING"


@pytest.mark.parametrize(
    ("stream", "variables", "is_colored"),
    [
        (Terminal, {}, True),
        (Terminal, {"NO_COLOR": "1"}, False),
        (Terminal, {"TERM": "dumb"}, False),
        (io.StringIO, {}, False),
    ],
    ids=["terminal", "NO_COLOR", "dumb terminal", "no terminal"],
)
def test_only_a_terminal_gets_colors(
    stream: type[io.StringIO], variables: dict[str, str], is_colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", output := stream())
    with escape_output():
        print_with_colors("FAIL stall")
    assert output.getvalue() == ("\x1b[31mFAIL\x1b[0m stall\n" if is_colored else "FAIL stall\n")


def test_control_characters_of_a_colored_text_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", output := Terminal())
    with escape_output():
        print_with_colors("WARN \x1b[2J")
    assert output.getvalue() == "\x1b[33mWARN\x1b[0m \\u001b[2J\n"
