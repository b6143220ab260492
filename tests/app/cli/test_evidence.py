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
        ("remove", "inferencex"),
        ("remove", "own-00000000"),
        ("add", "no-such-file", "--engine", "vllm", "--precision", "fp8"),
        ("add", VLLM, "--precision", "fp8"),
    ],
)
def test_unknown_evidence_id_or_filter_is_a_usage_error(argv: tuple[str, ...]) -> None:
    assert main(["evidence", *argv]) == ExitCode.USAGE
