from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from app.analysis.published_points import load_published_points
from app.cli.main import main
from app.errors import ExitCode
from app.profiles.bundled import DATA_DIRECTORY
from app.profiles.mlperf_results import LANGUAGE_MODELS, list_model_results
from app.records.evidence import MLPERF_SOURCE
from reports.sections.mlperf import CAVEAT, MLPERF, ONLY_OFFLINE
from tests.fakes import plan_sources

KEYS = LANGUAGE_MODELS.values()
VLLM = str(DATA_DIRECTORY / "examples" / "vllm-before.json")
ADD = (
    "evidence", "add", VLLM, "--engine", "vllm", "--precision", "bf16", "--model", "llama-3.1-8b",
    "--accelerator", "h100-sxm5-80gb",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def list_points(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, str]]:
    capsys.readouterr()
    assert main(["evidence", "list", "--output", "csv", *options]) == ExitCode.OK
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_points_are_filtered_by_model_accelerator_engine_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list_points(capsys)) == len(load_published_points())
    rows = list_points(
        capsys, "--model", "meta-llama/Llama-3.3-70B-Instruct", "--accelerator", "h200", "--engine", "vllm"
    )
    assert {(row["model"], row["accelerator"], row["engine"]) for row in rows} == {
        ("llama-3.1-70b", "h200-sxm-141gb", "vllm")
    }
    assert {row["source"] for row in list_points(capsys, "--source", "nvidia")} == {"nvidia"}


def test_source_and_license_of_published_points_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "list", "--source", "inferencex"]) == ExitCode.OK
    shown = capsys.readouterr()
    assert "InferenceX" in shown.out
    assert "unofficial" in shown.out
    assert main(["evidence", "list", "--source", "inferencex", "--json", "--limit", "2"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert len(document["points"]) == 2
    assert [source["id"] for source in document["sources"]] == ["inferencex"]
    point_id = document["points"][0]["id"]
    assert main(["evidence", "show", point_id, "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["origin"]["license"] == "Apache-2.0"


def test_printed_table_has_fewer_than_60_lines_and_the_number_of_points(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "list"]) == ExitCode.OK
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) < 60
    assert f"{len(load_published_points()):,}" in shown.err


def test_own_evidence_is_added_listed_shown_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ADD) == ExitCode.OK
    own_id = capsys.readouterr().out.partition(":")[0]
    (row,) = list_points(capsys, "--source", "own")
    assert (row["id"], row["model"], row["tpot_ms"]) == (f"{own_id}.1", "llama-3.1-8b", "13.5")
    assert main(["evidence", "show", own_id]) == ExitCode.OK
    assert "vllm-before.json" in capsys.readouterr().out
    assert main(["evidence", "show", row["id"], "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["ttft_ms"] == 54.5
    assert main(ADD) == ExitCode.USAGE  # it is stored already
    assert main(["evidence", "remove", row["id"]]) == ExitCode.USAGE  # only all points of a measurement
    assert main(["evidence", "remove", own_id]) == ExitCode.OK
    assert list_points(capsys, "--source", "own") == []


def show(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """Return what `evidence show` prints to standard output and to standard error."""
    capsys.readouterr()
    assert main(["evidence", "show", *arguments]) == ExitCode.OK
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_mlperf_results_of_a_model_are_in_a_table_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = show(capsys, "meta-llama/Llama-3.1-8B-Instruct")
    points_text, _, results_text = text.partition(MLPERF.title)
    assert "sizewise evidence list --model llama-3.1-8b" in points_text
    assert "server" in results_text
    assert CAVEAT in results_text
    assert ONLY_OFFLINE not in results_text
    assert MLPERF_SOURCE.attribution in results_text
    document = json.loads(show(capsys, "llama-3.1-8b", "--json")[0])
    published = sum(point.served.model == "llama-3.1-8b" for point in load_published_points())
    assert sum(document["points"].values()) == published
    results = list_model_results("llama-3.1-8b")
    assert [row["tokens_per_s"] for row in document["mlperf"]["results"]] == [row.tokens_per_s for row in results]
    assert document["mlperf"]["remarks"] == [CAVEAT, MLPERF_SOURCE.attribution]
    assert not {row["id"] for row in list_points(capsys)} & {row.source for row in results}


def test_csv_of_a_model_has_its_mlperf_results_only(capsys: pytest.CaptureFixture[str]) -> None:
    text, remarks = show(capsys, "llama2-70b-99", "--output", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(list_model_results("llama-2-70b"))
    assert {row["scenario"] for row in rows} == {"offline", "server"}
    assert CAVEAT in remarks


def test_model_without_mlperf_results_has_its_points_only(capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = show(capsys, "deepseek-v3")
    assert "MLPerf" not in text
    assert json.loads(show(capsys, "deepseek-v3", "--json")[0])["mlperf"] is None


def test_own_measurements_of_an_unpublished_model_are_shown_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = tmp_path / "mine.yaml"
    shape.write_text(f"{plan_sources.MODEL}".replace("small", "my-model"), encoding="utf-8")
    command = [*ADD]
    command[command.index("llama-3.1-8b")] = str(shape)
    assert main(command) == ExitCode.OK
    document = json.loads(show(capsys, "my-model", "--json")[0])
    assert (document["points"]["own"], document["mlperf"]) == (1, None)


def test_license_of_mlperf_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(show(capsys, "mlperf", "--json")[0])
    assert (document["license"], document["results"]) == ("Apache-2.0", sum(map(len, map(list_model_results, KEYS))))


def test_damaged_file_is_a_warning_in_list_and_an_error_in_show(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "evidence").mkdir(parents=True)
    (home / "evidence" / "own-00000000.json").write_text("{")
    assert list_points(capsys, "--limit", "1")
    assert main(["evidence", "list", "--limit", "1"]) == ExitCode.OK
    assert "own-00000000" in capsys.readouterr().err
    assert main(["evidence", "show", "own-00000000"]) == ExitCode.USAGE


@pytest.mark.parametrize(
    "argv",
    [
        ("list", "--model", "no-such-model"),
        ("list", "--accelerator", "no-such-card"),
        ("show", "no-such-point"),
        ("show", "own-00000000"),
        ("show", "own-00000000.1"),
        ("show", "inferencex", "--output", "csv"),
        ("list", "--source", "mlperf"),
        ("remove", "inferencex"),
        ("remove", "own-00000000"),
        ("add", "no-such-file", "--engine", "vllm", "--precision", "fp8"),
        ("add", VLLM, "--precision", "fp8"),
    ],
)
def test_unknown_evidence_id_or_filter_is_a_usage_error(argv: tuple[str, ...]) -> None:
    assert main(["evidence", *argv]) == ExitCode.USAGE
