from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.dropped_files import FileKind, classify_path
from tests.fakes import decoders

CASES: list[tuple[str, str, FileKind]] = [
    ("m.onnx", "", "model"),
    ("p.yaml", "# mine\nsizewise: 1\nname: x\n", "profile"),
    ("plan.yaml", "sizewise_plan: 3\ntool: x\n", "plan"),
    ("mine.yaml", "aws/g6.2xlarge@us-east-1: {on_demand_usd_per_hour: 1}\n", "prices"),
    ("rows.yaml", "- provider: aws\n  instance_type: g6.2xlarge\n", "prices"),
    ("curve.yaml", "curve:\n  - {rate: 10/s, p95: 20ms}\n", "results"),
    ("prices.csv", "provider,instance_type,region,on_demand_usd_per_hour\n", "prices"),
    ("notes.csv", "a,b\n", "unknown"),
    ("benchmarks.json", "{}", "results"),
    ("run.zip", "", "bundle"),
    ("run.sizewise", "", "bundle"),
    ("photo.png", "", "unknown"),
]


@pytest.mark.parametrize(("name", "text", "kind"), CASES, ids=[case[0] for case in CASES])
def test_file_kind_is_detected_by_name_and_content(tmp_path: Path, name: str, text: str, kind: FileKind) -> None:
    (tmp_path / name).write_text(text)
    classified = classify_path(tmp_path / name)
    assert classified.kind == kind
    assert classified.action_text


def test_folder_with_events_is_a_run_and_other_folders_are_results(tmp_path: Path) -> None:
    assert classify_path(tmp_path).kind == "results"
    (tmp_path / "events.jsonl").write_text("")
    assert classify_path(tmp_path).kind == "run"
    assert classify_path(tmp_path / "events.jsonl").kind == "run"


def test_missing_file_has_an_unknown_kind(tmp_path: Path) -> None:
    assert classify_path(tmp_path / "gone.onnx").kind == "unknown"


def test_folder_of_a_language_model_is_a_model(tmp_path: Path) -> None:
    assert classify_path(decoders.contiguous(tmp_path / "decoder")).kind == "model"
