"""Colors of verdicts on a terminal."""

import io
import sys

import pytest

from app.cli.colors import ColorMode, color_text, print_with_colors, use_colors
from app.cli.streams import escape_output
from app.cli.tables import format_table
from reports.marks import DIM_END, DIM_START, mark_status
from reports.sections.section import Column


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_marked_statuses_are_colored() -> None:
    text = f"{mark_status('PASS')} PASS, {mark_status('INVALID')} INVALID, {mark_status('VALID')} VALID"
    assert color_text(text) == "\x1b[32mPASS\x1b[0m PASS, \x1b[31mINVALID\x1b[0m INVALID, VALID VALID"
    assert color_text(f"{mark_status('WARN')}: x") == "\x1b[33mWARN\x1b[0m: x"


def test_status_columns_are_colored_and_table_stays_aligned() -> None:
    columns = (
        Column[tuple[str, str]]("", "verdict", lambda row: row[0], is_status=True),
        Column[tuple[str, str]]("", "note", lambda row: row[1]),
    )
    table = format_table(columns, [("WARN", "WARN"), ("n/a", "x")])
    assert color_text(table).splitlines()[2:] == ["\x1b[33mWARN\x1b[0m     WARN", "n/a      x"]


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
def test_colors_are_printed_only_to_a_terminal(
    stream: type[io.StringIO], variables: dict[str, str], is_colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", output := stream())
    with escape_output():
        print_with_colors(f"{mark_status('FAIL')} stall")
    assert output.getvalue() == ("\x1b[31mFAIL\x1b[0m stall\n" if is_colored else "FAIL stall\n")


@pytest.mark.parametrize(("stream", "when", "is_colored"), [(io.StringIO, "always", True), (Terminal, "never", False)])
def test_color_option_overrides_terminal_and_environment(
    stream: type[io.StringIO], when: ColorMode, is_colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1") if is_colored else monkeypatch.delenv("NO_COLOR", raising=False)
    output = stream()
    with use_colors(when):
        print_with_colors(f"{mark_status('FAIL')} stall", output)
    assert output.getvalue() == ("\x1b[31mFAIL\x1b[0m stall\n" if is_colored else "FAIL stall\n")


def test_control_characters_of_colored_text_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", output := Terminal())
    with escape_output():
        print_with_colors(f"{mark_status('WARN')} \x1b[2J")
    assert output.getvalue() == "\x1b[33mWARN\x1b[0m \\u001b[2J\n"


@pytest.mark.parametrize(
    ("when", "printed"), [("always", "p95 \x1b[2m9 ms (n = 5)\x1b[22m"), ("never", "p95 9 ms (n = 5)")]
)
def test_marked_text_is_dimmed_unless_colors_are_off(
    when: ColorMode, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with use_colors(when):
        print_with_colors(f"p95 {DIM_START}9 ms (n = 5){DIM_END}")
    assert capsys.readouterr().out == f"{printed}\n"
