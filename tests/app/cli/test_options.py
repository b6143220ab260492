from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from app.analysis.gating import Gating
from app.cli.commands import build_group
from app.cli.main import main
from app.cli.options import (
    BaselineOptions,
    GatingOptions,
    OutputFormat,
    OutputOptions,
    Verbosity,
    VerbosityOptions,
    parse_baseline,
    parse_gating,
    parse_output,
    parse_verbosity,
)
from app.errors import ExitCode
from tests.fakes.command_line import parse
from tests.fakes.program import write_profile


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--force"], "--force requires --baseline"),
        (["--tolerance", "3%"], "--tolerance requires --baseline"),
        (["--baseline", "no-such-run"], "no run matches 'no-such-run'"),
    ],
)
def test_invalid_baseline_options_are_usage_errors(
    options: list[str],
    message: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path_factory.mktemp("home")))
    assert main(["run", "quickstart", *options]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reference", "warning"),
    [
        ("promoted", "warning: no run of 'quickstart' was promoted, so this run is not compared\n"),
        ("last", "warning: no run of 'quickstart' that passed is stored yet, so this run is not compared\n"),
    ],
)
def test_first_run_of_a_pipeline_has_no_baseline_and_a_warning(
    reference: str,
    warning: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    options = build_group(BaselineOptions, parse(["run", "quickstart", "--baseline", reference]))
    assert parse_baseline(options, "quickstart") is None
    assert capsys.readouterr().err == warning


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
def test_gate_options_are_parsed(arguments: list[str], gating: Gating) -> None:
    assert parse_gating(build_group(GatingOptions, parse(["run", "quickstart", *arguments]))) == gating


@pytest.mark.parametrize("arguments", [["--gate", "slow"], ["--gate", ""], ["--on-inconclusive", "maybe"]])
def test_unknown_gate_options_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "quickstart", *arguments]) == ExitCode.USAGE
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('gates: ["latency_ms.p95{stage=steady} < 300", "change(latency_ms.p95) < +8%"]', None),
        ('options: {abort_when: "error_rate > 20% after 500ms"}', None),
        ('gates: ["latency_ms.p95{stage=stedy} < 300"]', "Did you mean 'steady'?"),
        ('gates: ["latncy_ms.p95 < 300"]', "Did you mean latency_ms?"),
        ('gates: ["error_rate < 0.1"]', "Use 0.1%."),
        ('options: {abort_when: "error_rate > 20% after 15s"}', "delay of the rule to less than 1s"),
    ],
)
def test_profile_check_reports_invalid_gates(
    tmp_path: Path, extra: str, message: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_profile(tmp_path, "http://127.0.0.1:1/", extra=extra)
    assert main(["profiles", "check", path]) == (0 if message is None else ExitCode.USAGE)
    captured = capsys.readouterr()
    if message is None:
        assert "is valid" in captured.out
    else:
        assert f"error: {path}:12: " in captured.err
        assert message in captured.err


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
def test_json_option_equals_output_json(arguments: list[str], output: OutputFormat) -> None:
    assert parse_output(build_group(OutputOptions, parse(["doctor", *arguments]))) == output


@pytest.mark.parametrize(("arguments", "verbosity"), [([], "normal"), (["-q"], "quiet"), (["--verbose"], "verbose")])
def test_verbosity_is_normal_unless_quiet_or_verbose_is_set(arguments: list[str], verbosity: Verbosity) -> None:
    for command in (["run", "quickstart"], ["quickstart"], ["runs", "attach", "last"], ["compare", "a", "b"]):
        assert parse_verbosity(build_group(VerbosityOptions, parse([*command, *arguments]))) == verbosity


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["doctor", "--json", "--output", "csv"], "--json and --output csv cannot be combined"),
        (["quickstart", "-q", "-v"], "--quiet and --verbose cannot be combined"),
    ],
)
def test_contradictory_output_options_are_usage_errors(
    command: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert main(command) == ExitCode.USAGE
    assert message in capsys.readouterr().err


LISTS = (
    pytest.param("doctor", "verdict", marks=pytest.mark.process),
    ("profiles list", "name"),
    ("profiles keys openai-chat", "key"),
    ("offers list --accelerator l4", "offer"),
    ("runs list", "run_id"),
)


@pytest.mark.parametrize(("command", "first_key"), LISTS)
def test_lists_have_csv_with_stable_keys_markdown_and_json(
    command: str, first_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))

    def run_command(*options: str) -> str:
        assert main([*command.split(), *options]) == ExitCode.OK
        return capsys.readouterr().out

    header, *rows = csv.reader(io.StringIO(run_command("--output", "csv")))
    assert header[0] == first_key
    assert all(re.fullmatch("[a-z][a-z0-9_]*", key) for key in header)
    assert {len(row) for row in rows} <= {len(header)}
    markdown = run_command("--output", "md").splitlines()
    assert len(markdown) == (len(rows) + 2 if rows else 1)
    if command != "doctor":  # its document has the state of the machine at that time
        document = json.loads(run_command("--output", "json"))
        assert document == json.loads(run_command("--json"))
        assert len(document) == len(rows)
