from __future__ import annotations

import csv
import json
from pathlib import Path

import msgspec
import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.records.comparison import Comparison
from app.records.metrics import format_metric
from app.records.result import Result
from app.storage.run_directory import RunWriter
from tests.fakes.program import PROFILE
from tests.fakes.repeated import repeats, result, steady

QUIET = (10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store_results(tmp_path, [result(steady(10.0, 0.1), run_id="baseline")])
    return tmp_path


def store_results(home: Path, results: list[Result]) -> str:
    for stored in results:
        with RunWriter(home / "runs" / stored.run_id) as writer:
            writer.write_result(stored)
    return ",".join(stored.run_id for stored in results)


@pytest.mark.parametrize(
    ("now_ms", "half_ms", "options", "code", "message"),
    [
        (10.0, 0.1, (), ExitCode.OK, "NO REGRESSION"),
        (5.0, 0.1, (), ExitCode.OK, "1 better"),
        (20.0, 0.5, (), ExitCode.REGRESSION, "regression: p95 latency in steady regressed: 20 ms vs. 10 ms"),
        (20.0, 0.5, ("--tolerance", "150%"), ExitCode.USAGE, "is not a share"),
        (10.8, 0.5, (), ExitCode.OK, "warning: these changes are inconclusive: p95 latency in steady"),
        (10.8, 0.5, ("--on-inconclusive", "fail"), ExitCode.INCONCLUSIVE, "error: these changes are inconclusive"),
        (10.8, 0.1, ("--tolerance", "20%"), ExitCode.OK, "NO REGRESSION"),
    ],
)
def test_compare_exit_code_depends_on_the_verdict(
    home: Path,
    now_ms: float,
    half_ms: float,
    options: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store_results(home, [result(steady(now_ms, half_ms), run_id="now")])
    assert main(["compare", "baseline", "now", *options]) == code
    output = capsys.readouterr()
    assert message in output.out + output.err


def test_repeated_runs_are_separated_by_commas_or_spaces(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = repeats(QUIET, "a"), repeats([1.2 * p95_ms for p95_ms in QUIET], "b")
    store_results(home, [*before, *after])
    names = [run.run_id for run in after]
    assert main(["compare", ",".join(run.run_id for run in before), *names, "--json"]) == ExitCode.REGRESSION
    comparison = msgspec.json.decode(capsys.readouterr().out, type=Comparison)
    assert comparison.candidate == tuple(names)
    assert comparison.changes[0].p_value == pytest.approx(2 / 3432)


def test_environment_differences_are_printed_before_changes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = result(steady(10.0, 0.1), run_id="now")
    store_results(
        home, [msgspec.structs.replace(other, environment=msgspec.structs.replace(other.environment, os="Linux-7"))]
    )
    assert main(["compare", "baseline", "now"]) == ExitCode.OK
    output = capsys.readouterr().out
    assert output.index("Linux-7") < output.index("latency_ms.p95")


def test_runs_with_different_workloads_are_compared_only_with_force(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = msgspec.structs.replace(result(steady(20.0, 0.1), run_id="now"), workload_hash="other")
    store_results(home, [other])
    assert main(["compare", "baseline", "now"]) == ExitCode.USAGE
    output = capsys.readouterr()
    assert "not comparable: workload: asked (baseline), other (candidate)" in output.err
    assert "latency_ms.p95" not in output.out
    assert main(["compare", "baseline", "now", "--force"]) == ExitCode.REGRESSION
    assert "FORCED: the runs are compared although they are not comparable (workload)." in capsys.readouterr().out


def test_runs_without_a_common_metric_are_a_usage_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_results(home, [result(msgspec.structs.replace(steady(10.0), name="other"), run_id="now")])
    assert main(["compare", "baseline", "now"]) == ExitCode.USAGE
    assert "no metric in common" in capsys.readouterr().err


def test_comparison_of_runs_with_only_probes_is_inconclusive(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = msgspec.structs.replace(steady(10.0, 0.1), kind="probe")
    store_results(home, [result(probe, run_id="before"), result(probe, run_id="after")])
    assert main(["compare", "before", "after"]) == ExitCode.OK
    output = capsys.readouterr()
    assert output.out.startswith("INCONCLUSIVE: no headline metric has a value in both runs")
    assert output.err == "warning: no headline metric has a value in both runs, so the comparison is inconclusive\n"
    assert main(["compare", "before", "after", "--on-inconclusive", "fail"]) == ExitCode.INCONCLUSIVE
    assert capsys.readouterr().err.startswith("error: no headline metric")


def test_promoted_run_is_the_baseline(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_results(home, [result(steady(10.0, 0.1), run_id="now")])
    assert main(["compare", "promoted", "now"]) == ExitCode.USAGE
    assert "with `sizewise runs promote RUN`" in capsys.readouterr().err
    assert main(["runs", "promote", "baseline"]) == ExitCode.OK
    assert main(["compare", "promoted", "now", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["baseline"] == ["baseline"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["baseline", "gone"], "no run matches 'gone'"),
        (["baseline", "promoted"], "cannot be the candidate"),
        (["baseline", "baseline", "--pairs", "3"], "--pairs requires --measure"),
        (["baseline", "baseline", "--record", "here"], "--record requires --measure"),
        (["baseline", "baseline", "--allow-secrets", "10.0.0.5"], "--allow-secrets requires --measure"),
        (["one.yaml", "two.yaml", "three.yaml", "--measure"], "requires exactly two profiles"),
        (["fraud-scoring", "gone.yaml", "--measure"], "gone.yaml"),
        (["fraud-scoring", "kept.yaml", "--measure"], "kept.yaml was stored without its secrets"),
    ],
)
def test_invalid_combinations_of_compare_options_are_usage_errors(
    home: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    redacted_profile = PROFILE.format(url="http://127.0.0.1:1", rate="1/s", duration="1s", extra="")
    (home / "kept.yaml").write_text(redacted_profile.replace("  url:", "  headers: {X-Key: <redacted>}\n  url:"))
    assert main(["compare", *arguments]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("report_format", "parts"),
    [
        ("markdown", ["# baseline vs. now", "NO REGRESSION", "sizewise compare baseline now"]),
        ("html", ["<h1>baseline vs. now</h1>", "NO REGRESSION", "script-src &#39;none&#39;"]),
        ("json", ['"candidate": ', '"now"']),
        ("text", ["NO REGRESSION"]),
    ],
)
def test_comparison_is_written_in_each_report_format(
    home: Path, report_format: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    store_results(home, [result(steady(10.0, 0.1), run_id="now")])
    assert main(["compare", "baseline", "now", "--format", report_format, "--out", "said"]) == ExitCode.OK
    assert capsys.readouterr().out == "said\n"
    text = (home / "said").read_text()
    assert [part for part in parts if part not in text] == []


def test_forced_comparison_is_marked_in_each_report_format(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = msgspec.structs.replace(result(steady(20.0, 0.1), run_id="other"), workload_hash="another")
    store_results(home, [other])
    for report_format in ("text", "markdown", "html"):
        main(["compare", "baseline", "other", "--force", "--format", report_format])
        out = capsys.readouterr().out
        assert "FORCED" in out
        assert report_format == "text" or "sizewise compare baseline other --force" in out


def test_comparison_into_a_missing_folder_is_a_usage_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_results(home, [result(steady(10.0, 0.1), run_id="now")])
    assert main(["compare", "baseline", "now", "--out", "none/said"]) == ExitCode.USAGE
    assert "none/said cannot be written" in capsys.readouterr().err


def test_changes_are_csv_with_full_precision_and_markdown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_results(home, [result(steady(20.0, 0.5), run_id="now")])
    main(["compare", "baseline", "now", "--output", "json"])
    comparison = msgspec.json.decode(capsys.readouterr().out, type=Comparison)
    assert main(["compare", "baseline", "now", "--output", "csv", "--out", "changes.csv"]) == ExitCode.REGRESSION
    rows = list(csv.DictReader((home / "changes.csv").read_text().splitlines()))
    assert [(row["metric"], row["verdict"]) for row in rows] == [
        (format_metric(change.metric, change.aggregate), change.verdict) for change in comparison.changes
    ]
    assert [float(row["ratio"]) for row in rows[:1]] == [comparison.changes[0].ratio.value]
    capsys.readouterr()
    main(["compare", "baseline", "now", "--output", "md"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| metric | stage | baseline | candidate | change (95 % CI) | p-value | verdict | note |"
    assert "10 ms" in lines[2] or "10.0 ms" in lines[2]
    assert main(["compare", "baseline", "now", "--output", "md", "--format", "html"]) == ExitCode.USAGE
    assert "--output and --format cannot be combined" in capsys.readouterr().err
