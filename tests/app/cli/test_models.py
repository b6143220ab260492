from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.inference.generation.decoder_shape import PagedCache
from app.inference.generation.model_folder import read_model_folder
from app.inference.probe import DIGITS_MODEL
from tests.fakes.genai_folders import genai_folder
from tests.fakes.graphs import attention
from tests.fakes.hostile_language_models import gguf_cut_short
from tests.fakes.hostile_models import in_the_parent_folder
from tests.fakes.language_model_files import convert_to_gguf, published_model, write_folder, write_gguf

pytestmark = pytest.mark.process


def test_inspected_model_is_printed_with_costs_and_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", str(DIGITS_MODEL)]) == 0
    text = capsys.readouterr().out
    assert "parameters  368 k (1.47 MB float32)" in text
    assert "in   image   float32  batch × 1 × 8 × 8" in text
    assert "at batch size b (batch): FLOPs 404 M × b, bytes moved 1.47 MB + 8.54 MB × b" in text
    assert "FLOPs: each multiply-add (Conv, Gemm) counts as 2." in text
    assert "H100" in text
    assert "not measurements or predictions" in text


def test_inspect_json_has_inputs_costs_and_the_reason_for_missing_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(attention(tmp_path / "m.onnx"))
    assert main(["models", "inspect", model, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", "seq", 8]}]
    assert document["model"]["costs"] == document["gpus"] == []
    assert "--axis seq=VALUE" in document["model"]["cost_reason"]
    assert main(["models", "inspect", model, "--json", "--axis", "seq=10"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["costs"][0]["flops"] == 2 * (1920 + 1600)


def test_model_with_unset_dynamic_axis_has_no_costs_but_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "inspect", str(attention(tmp_path / "m.onnx"))]) == 0
    text = capsys.readouterr().out
    assert "FLOPs, bytes and memory  n/a: the model has dynamic axes seq; set them with --axis" in text
    assert "parameters  192" in text


def test_model_with_weights_outside_its_folder_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert main(["models", "inspect", str(in_the_parent_folder(folder))]) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: the model is rejected: its weights are in ../model-secret")
    assert hint.startswith("hint: Export the model again")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--axis", "seq"], "'seq' does not have the form NAME=VALUE"),
        (["--axis", "seq=0"], "'0' is not a valid length"),
        (["--shape", "x=1,two,8"], "'two' is not a valid length"),
        (["--shape", "x=N,2"], "has 3 axes, but 2 lengths were specified"),
        (["--axis", "sequence=4"], "no dynamic axis 'sequence'"),
    ],
)
def test_invalid_axis_lengths_are_usage_errors(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(attention(tmp_path / "m.onnx"))
    assert main(["models", "inspect", model, *options]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_inspect_csv_has_values_operators_costs_and_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", str(DIGITS_MODEL), "--output", "csv"]) == 0
    values, operators, costs, gpus = capsys.readouterr().out.split("\n\n")
    assert values.splitlines()[1] == '"in","image","float32","batch × 1 × 8 × 8"'
    assert operators.splitlines()[0] == '"operator","nodes","flops"'
    assert costs.splitlines()[1].startswith("1,404320128,")
    assert '"H100' in gpus


def test_known_language_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("mixtral-8x7b "))
    assert line.split()[1:] == ["46.7", "12.9", "32", "4,096", "32", "8", "8", "full", "32,768"]
    assert main(["models", "list", "--output", "csv"]) == 0
    rows = {row["model"]: row for row in csv.DictReader(capsys.readouterr().out.splitlines())}
    assert rows["deepseek-v3"]["attention"] == "latent"
    assert rows["gpt-oss-20b"]["attention"] == "window in 12 layers"
    assert rows["qwen3-next-80b-a3b"]["attention"] == "linear in 36 layers"
    assert "deepseek-ai/DeepSeek-R1" in rows["deepseek-v3"]["names"].split(";")
    assert main(["models", "list", "--json"]) == 0
    assert {model["key"] for model in json.loads(capsys.readouterr().out)} == rows.keys()


def test_inspected_gguf_file_lists_gpus_with_enough_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"attention.sliding_window": 4096}
    path = write_gguf(tmp_path / "gemma.gguf", *convert_to_gguf(published_model("gemma-2-9b"), "gemma2", **keys))
    assert main(["models", "inspect", str(path), "--context", "4096,8192", "--batch", "8"]) == 0
    text = capsys.readouterr().out
    assert "format        GGUF version 3, 464 tensors" in text
    assert "parameters    9,241,705,984 (9.24B)" in text
    assert "layers        42 (21 with a window of 4,096 tokens)" in text
    assert "KV cache      344,064 B per token in fp16 (the default of llama.cpp)" in text
    assert "172,032 B per token beyond 4,096 tokens" in text
    assert "2.11 GB for 8,192 tokens" in text
    (short_context, long_context) = (line.split() for line in text.splitlines() if line.startswith("H100 SXM5"))
    assert int(short_context[-4]) > int(long_context[-4]) >= 8
    assert "Tesla P4" not in text
    hidden_gpus = re.search(r"^(\d+) more accelerators are shown with --all-accelerators\.$", text, re.MULTILINE)
    assert hidden_gpus is not None
    assert main(["models", "inspect", str(path), "--context", "4096", "--batch", "8", "--all-accelerators"]) == 0
    gpu_rows = capsys.readouterr().out.partition("GPU ")[2].partition("TP is the smallest")[0].splitlines()[2:]
    assert len(gpu_rows) == int(hidden_gpus[1]) + 10


def test_inspected_model_folder_has_reasons_for_unavailable_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = published_model("smollm2-135m")
    config = {key: value for key, value in model.config.items() if key != "vocab_size"} | {"num_kv_shared_layers": 2}
    path = str(write_folder(tmp_path / "smol", model.tensors, config))
    assert main(["models", "inspect", path]) == 0
    assert "KV cache and accelerators  n/a: the model has layers that share their cache" in capsys.readouterr().out
    assert main(["models", "inspect", path, "--output", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert '"parameters",134515008,""' in lines
    assert '"kv_bytes_per_token","","the model has layers that share their cache"' in lines


def test_inspected_genai_folder_has_kv_cache_and_fits_in_json_and_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(genai_folder(tmp_path / "decoder", experts=4))
    options = ["--context", "128", "--batch", "2", "--kv-dtype", "fp8"]
    assert main(["models", "inspect", path, "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kv_bytes_per_token"] == 2 * 2 * 16 * 2
    assert document["model"]["architecture"]["counts"]["experts_per_token"] == 2
    assert main(["models", "inspect", path, "--output", "csv", *options]) == 0
    _, caches, fits = capsys.readouterr().out.split("\n\n")
    assert caches.splitlines() == ['"context_tokens","bytes_per_sequence"', "128,16384.0"]
    header, *rows = fits.splitlines()
    assert header == (
        '"gpu","is_installed","memory_gib","context_tokens","tp_for_batch_2","max_batch_tp_1","max_batch_tp_2",'
        '"max_batch_tp_4","max_batch_tp_8"'
    )
    assert len(rows) == len(document["fits"])


def test_truncated_gguf_file_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", str(gguf_cut_short(tmp_path))]) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: model.gguf is not a valid GGUF file: it ends within its header"
    assert hint.startswith("hint: Download the file again")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("model.gguf", ["--axis", "seq=4"], "--axis applies to ONNX models, but this is a language model"),
        ("model.gguf", ["--context", "8k"], "'8k' is not a valid length"),
        ("model.gguf", ["--batch", "1,2,3,4,5,6,7,8,9"], "--batch 1,2,3,4,5,6,7,8,9 is not possible"),
        ("digits", ["--context", "4096"], "--context applies to language models, which this file is not"),
    ],
)
def test_inspect_options_of_another_model_kind_are_usage_errors(
    name: str, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(gguf_cut_short(tmp_path).with_name(name)) if name.endswith(".gguf") else name
    assert main(["models", "inspect", path, *options]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_random_model_is_written_only_to_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    command = ["models", "random", str(folder), "--layers", "1", "--vocabulary", "300", "--bits", "4", "--paged"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith(f"{folder}: a decoder with random weights, ")
    model = read_model_folder(folder)
    assert (model.layers, model.vocabulary, model.paged_cache) == (1, 300, PagedCache())
    assert main(command) == 2
    assert "is not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hidden", "300"), "--hidden 300 is not a multiple of 256"),
        (("--hidden", "8192", "--layers", "2"), "2 layers × 8192 are too many weights to draw"),
    ],
)
def test_invalid_random_model_sizes_are_usage_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert main(["models", "random", str(tmp_path / "model"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
