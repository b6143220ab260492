from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from app.analysis.gating import Gating
from app.cli.commands import Arguments
from app.cli.main import main
from app.cli.options import OutputFormat, Verbosity, parse_baseline, parse_gating, parse_output, parse_verbosity
from app.errors import ExitCode
from tests.fakes.command_line import parse
from tests.fakes.program import write_profile


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        (["--force"], "--force requires --baseline"),
        (["--tolerance", "3%"], "--tolerance requires --baseline"),
        (["--baseline", "no-such-run"], "no run matches 'no-such-run'"),
    ],
)
def test_a_baseline_that_cannot_be_had_is_reported_before_anything_is_measured(
    options: list[str],
    reported: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path_factory.mktemp("home")))
    assert main(["run", "quickstart", *options]) == ExitCode.USAGE
    assert reported in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reference", "warned"),
    [
        ("promoted", "warning: no run of 'quickstart' was promoted, so this run is not compared\n"),
        ("last", "warning: no run of 'quickstart' that passed is stored yet, so this run is not compared\n"),
    ],
)
def test_the_first_run_of_a_pipeline_has_no_baseline(
    reference: str,
    warned: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    arguments = Arguments(**parse(["run", "quickstart", "--baseline", reference]))
    assert parse_baseline(arguments, "quickstart") is None
    assert capsys.readouterr().err == warned


@pytest.mark.parametrize(
    ("arguments", "gating"),
    [
        ([], Gating()),
        (["--on-inconclusive", "fail"], Gating("fail")),
        (["--gate", "slo"], Gating(kinds=("slo",))),
        (["--gate", "regression"], Gating(kinds=("regression",))),
        (["--gate", "regression, slo", "--on-inconclusive", "pass"], Gating("pass")),
    ],
)
def test_what_decides_is_said_on_the_command_line(arguments: list[str], gating: Gating) -> None:
    assert parse_gating(Arguments(**parse(["run", "quickstart", *arguments]))) == gating


@pytest.mark.parametrize("arguments", [["--gate", "slow"], ["--gate", ""], ["--on-inconclusive", "maybe"]])
def test_another_word_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "quickstart", *arguments]) == ExitCode.USAGE
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ('gates: ["latency_ms.p95{stage=steady} < 300", "change(latency_ms.p95) < +8%"]', None),
        ('options: {abort_when: "error_rate > 20% after 500ms"}', None),
        ('gates: ["latency_ms.p95{stage=stedy} < 300"]', "Did you mean 'steady'?"),
        ('gates: ["latncy_ms.p95 < 300"]', "Did you mean latency_ms?"),
        ('gates: ["error_rate < 0.1"]', "Use 0.1%."),
        ('options: {abort_when: "error_rate > 20% after 15s"}', "delay of the rule to less than 1s"),
    ],
)
def test_gates_are_checked_without_running(
    tmp_path: Path, extra: str, says: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_profile(tmp_path, "http://127.0.0.1:1/", extra=extra)
    assert main(["profiles", "check", path]) == (0 if says is None else ExitCode.USAGE)
    shown = capsys.readouterr()
    if says is None:
        assert "is valid" in shown.out
    else:
        assert f"error: {path}:12: " in shown.err
        assert says in shown.err


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ([], "table"),
        (["--output", "csv"], "csv"),
        (["--output", "json"], "json"),
        (["--json"], "json"),
        (["--json", "--output", "json"], "json"),
    ],
)
def test_json_is_short_for_an_output(arguments: list[str], output: OutputFormat) -> None:
    assert parse_output(Arguments(**parse(["doctor", *arguments]))) == output


@pytest.mark.parametrize(("arguments", "verbosity"), [([], "normal"), (["-q"], "quiet"), (["--verbose"], "verbose")])
def test_progress_is_normal_unless_more_or_less_is_asked_for(arguments: list[str], verbosity: Verbosity) -> None:
    for command in (["run", "quickstart"], ["quickstart"], ["runs", "attach", "last"], ["compare", "a", "b"]):
        assert parse_verbosity(Arguments(**parse([*command, *arguments]))) == verbosity


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        (["doctor", "--json", "--output", "csv"], "--json and --output csv cannot be combined"),
        (["quickstart", "-q", "-v"], "--quiet and --verbose cannot be combined"),
    ],
)
def test_two_at_once_are_a_usage_error(
    command: list[str],
    reported: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert main(command) == ExitCode.USAGE
    assert reported in capsys.readouterr().err


LISTS = (
    pytest.param("doctor", "verdict", marks=pytest.mark.process),
    ("profiles list", "name"),
    ("profiles keys openai-chat", "key"),
    ("offers list --accelerator l4", "offer"),
    ("runs list", "run_id"),
)


@pytest.mark.parametrize(("command", "first_key"), LISTS)
def test_a_list_is_csv_with_stable_keys_markdown_and_json(
    command: str, first_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))

    def printed(*options: str) -> str:
        assert main([*command.split(), *options]) == ExitCode.OK
        return capsys.readouterr().out

    header, *rows = csv.reader(io.StringIO(printed("--output", "csv")))
    assert header[0] == first_key
    assert all(re.fullmatch("[a-z][a-z0-9_]*", key) for key in header)
    assert {len(row) for row in rows} <= {len(header)}
    markdown = printed("--output", "md").splitlines()
    assert len(markdown) == (len(rows) + 2 if rows else 1)
    if command != "doctor":  # whose document has the machine's state at the time
        document = json.loads(printed("--output", "json"))
        assert document == json.loads(printed("--json"))
        assert len(document) == len(rows)
