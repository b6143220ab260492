from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.inference.probe import DIGITS_MODEL
from tests.fakes.graphs import attention
from tests.fakes.hostile_models import in_the_parent_folder

pytestmark = pytest.mark.process


def test_a_model_is_reported_on_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", str(DIGITS_MODEL)]) == 0
    text = capsys.readouterr().out
    assert "parameters  368 k (1.47 MB float32)" in text
    assert "in   image   float32  batch × 1 × 8 × 8" in text
    assert "at batch size b (batch): FLOPs 404 M × b, bytes moved 1.47 MB + 8.54 MB × b" in text
    assert "FLOPs: each multiply-add (Conv, Gemm) counts as 2." in text
    assert "H100" in text
    assert "not measurements or predictions" in text


def test_json_holds_the_same_and_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(attention(tmp_path / "m.onnx"))
    assert main(["models", "inspect", model, "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert reported["model"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", "seq", 8]}]
    assert reported["model"]["costs"] == reported["gpus"] == []
    assert "--axis seq=VALUE" in reported["model"]["cost_reason"]
    assert main(["models", "inspect", model, "--json", "--axis", "seq=10"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["costs"][0]["flops"] == 2 * (1920 + 1600)


def test_a_length_that_is_missing_leaves_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", str(attention(tmp_path / "m.onnx"))]) == 0
    text = capsys.readouterr().out
    assert "FLOPs, bytes and memory  n/a: the model has dynamic axes seq; set them with --axis" in text
    assert "parameters  192" in text


def test_a_hostile_model_is_a_sentence_and_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert main(["models", "inspect", str(in_the_parent_folder(folder))]) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: the model is rejected: its weights are in ../model-secret")
    assert hint.startswith("hint: Export the model again")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--axis", "seq"], "'seq' does not have the form NAME=VALUE"),
        (["--axis", "seq=0"], "'0' is not a valid length"),
        (["--shape", "x=1,two,8"], "'two' is not a valid length"),
        (["--shape", "x=N,2"], "has 3 axes, but 2 lengths were specified"),
        (["--axis", "sequence=4"], "no dynamic axis 'sequence'"),
    ],
)
def test_lengths_that_are_none_are_refused(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(attention(tmp_path / "m.onnx"))
    assert main(["models", "inspect", model, *options]) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_every_table_is_csv_with_whole_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", str(DIGITS_MODEL), "--output", "csv"]) == 0
    values, operators, costs, gpus = capsys.readouterr().out.split("\n\n")
    assert values.splitlines()[1] == '"in","image","float32","batch × 1 × 8 × 8"'
    assert operators.splitlines()[0] == '"operator","nodes","flops"'
    assert costs.splitlines()[1].startswith("1,404320128,")
    assert '"H100' in gpus
