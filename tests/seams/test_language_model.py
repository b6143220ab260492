"""A language model run on this machine by the program: its table, result, steps, reevaluation and comparison."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from app.storage.run_directory import StoredRun
from tests.fakes import decoders
from tests.fakes.program import SizewiseInProcess, until_valid

PROFILE = {
    "sizewise": 1,
    "name": "tiny",
    "target": {"model": "model", "batch": [1, 2]},
    "load": {
        "tests": ["pp16+tg4", "tg4 @ d32"],
        "warmup": "0s",
        "min_duration": "100ms",
        "max_duration": "200ms",
        "cold_starts": 0,
    },
    "slo": ["itl_ms.p50 < 60000"],
    "gates": ["decode_tokens_per_s >= 0.1", "ttft_ms.p50 < 60000"],
}


_SHAPE = decoders.shape()
PARAMETERS = 2 * _SHAPE.vocabulary * 64 + _SHAPE.layers * (3 * 64 * 64 + 3 * 64 * 128) + (2 * _SHAPE.layers + 1) * 64
"""Embedding and output projection, layers, and norms."""


class _MeasuredRun(NamedTuple):
    sizewise: SizewiseInProcess
    table: list[dict[str, str]]
    summary: str
    directory: Path


@pytest.fixture(scope="module")
def measured_run(tmp_path_factory: pytest.TempPathFactory) -> _MeasuredRun:
    """Measured in batches of 2 without the deep prompt, which ONNX Runtime GenAI runs only one at a time."""
    folder = tmp_path_factory.mktemp("language-model")
    decoders.contiguous(folder / "model")
    profile, out = folder / "llm.yaml", folder / "home" / "runs" / "tiny-run"
    profile.write_text(yaml.safe_dump(PROFILE, sort_keys=False), "utf-8")
    sizewise = SizewiseInProcess(folder / "home", folder, draws=False)
    done = until_valid(lambda: sizewise("run", str(profile), "--output", "csv", "--out", str(out)), out)
    assert done.returncode == 0, done.stderr
    return _MeasuredRun(sizewise, list(csv.DictReader(io.StringIO(done.stdout))), done.stderr, out)


pytestmark = pytest.mark.process


def test_csv_table_has_row_per_variant_and_test(measured_run: _MeasuredRun) -> None:
    assert [(row["batch"], row["test"]) for row in measured_run.table] == [
        ("1", "pp16+tg4"), ("1", "tg4 @ d32"), ("2", "pp16+tg4"), ("2", "tg4 @ d32")
    ]  # fmt: skip
    for row in measured_run.table:
        assert (row["model"], row["params"], row["backend"], row["threads"]) == ("model", str(PARAMETERS), "cpu", "1")
        assert float(row["tokens_per_s_low"]) < float(row["tokens_per_s"]) < float(row["tokens_per_s_high"])
        assert int(row["size_bytes"]) > 100_000
    assert "Max decode throughput" in measured_run.summary, "the summary goes to standard error"


def test_result_has_metrics_per_test_and_drift_of_first_test(measured_run: _MeasuredRun) -> None:
    result = measured_run.sizewise.result(measured_run.directory)
    stages = [(stage["tags"]["test"], stage["repeat"], stage["variant"]["batch"]) for stage in result["stages"]]
    assert stages == [
        (test, repeat, batch)
        for batch in (1, 2)
        for test, repeat in (("pp16+tg4", 1), ("tg4 @ d32", 1), ("pp16+tg4", 2))
    ]
    for stage in result["stages"]:
        has_prompt = stage["tags"]["test"].startswith("pp")
        assert ("prefill_tokens_per_s" in stage["metrics"], "ttft_ms" in stage["metrics"]) == (has_prompt, has_prompt)
        assert stage["metrics"]["decode_tokens_per_s"]["value"]["value"] > 0
        assert stage["metrics"]["decode_bandwidth_share"]["value"]["value"] > 0
        assert ("prefill_flops_share" in stage["metrics"]) is has_prompt
        checks = {check["id"] for check in stage["checks"]}
        assert ("drift" in checks) is (stage["repeat"] == 2)
    for variant in result["local"]["variants"]:
        model, shape = variant["language_model"], decoders.shape()
        assert (model["context"], model["parameters"]) == (shape.context, PARAMETERS)
        assert model["kv_cache_bytes"] == variant["variant"]["batch"] * 36 * shape.kv_bytes_per_token, "tg4 @ d32"
    assert [(gate["objective"]["metric"], gate["outcome"]) for gate in result["gates"]] == [
        ("decode_tokens_per_s", "PASS"), ("ttft_ms", "PASS")
    ]  # fmt: skip


def test_generation_steps_are_stored(measured_run: _MeasuredRun) -> None:
    calls = StoredRun(measured_run.directory).calls().to_pandas()
    assert set(calls["stage"]) == set(range(6))
    assert (calls.groupby(["stage", "query"]).size() == 4).all(), "a prefill and three steps, or four steps"


def test_language_model_run_is_reevaluated_with_new_slo(measured_run: _MeasuredRun) -> None:
    done = measured_run.sizewise(
        "report", str(measured_run.directory), "--slo", "itl_ms.p50 < 0.000001", "--format", "text"
    )
    assert "No variant met the SLO" in done.stdout
    assert "missed p50 ITL <" in " ".join(done.stdout.split())


def test_language_model_headline_and_comparison_are_in_tokens(measured_run: _MeasuredRun) -> None:
    listed = measured_run.sizewise("runs", "list")
    assert "tok/s, batch" in listed.stdout
    compared = measured_run.sizewise("compare", str(measured_run.directory), str(measured_run.directory), "--json")
    changes = json.loads(compared.stdout)["changes"]  # the table omits some, depending on what was measured
    units = {(change["stage"], change["metric"]): change["unit"] for change in changes}
    metrics = {"pp16+tg4": ("prefill_tokens_per_s", "decode_tokens_per_s"), "tg4 @ d32": ("decode_tokens_per_s",)}
    for batch in (1, 2):
        stages = {f"{test}: model cpu as-is, batch {batch}": names for test, names in metrics.items()}
        assert {units[stage, name] for stage, names in stages.items() for name in names} == {"tokens/s"}
    assert "inferences" not in listed.stdout + compared.stdout
