from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.errors import DamagedFileError, UsageError
from app.records.evidence import PublishedServer
from app.records.planning_inputs import OwnEvidence, OwnPoint
from app.storage.own_evidence import (
    evidence_home,
    find_evidence,
    identify,
    list_evidence,
    remove_evidence,
    store_evidence,
)

POINT = OwnPoint(clients=8.0, rate_per_s=None, input_tokens=900.0, output_tokens=120.0, ttft_ms=80.0, tpot_ms=9.0)
EVIDENCE = identify(
    OwnEvidence(
        id="",
        added_on=datetime.date(2026, 11, 1),
        tool="GuideLLM",
        origin="result.json",
        model_name="Llama 3.1 8B",
        shape=load_language_models()["llama-3.1-8b"].shape,
        served=PublishedServer(
            model="llama-3.1-8b", accelerator="l4", precision="fp8", engine="vllm", version="0.11.0", accelerators=1
        ),
        points=(POINT,),
    )
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_stored_evidence_survives_a_round_trip_and_can_be_removed() -> None:
    store_evidence(EVIDENCE)
    assert list_evidence() == ([EVIDENCE], [])
    assert find_evidence(EVIDENCE.id) == EVIDENCE
    remove_evidence(EVIDENCE.id)
    assert list_evidence() == ([], [])


def test_evidence_id_does_not_depend_on_date_and_origin() -> None:
    store_evidence(EVIDENCE)
    again = identify(replace(EVIDENCE, added_on=datetime.date(2026, 12, 1), origin="copy.json"))
    with pytest.raises(UsageError):
        store_evidence(again)
    assert find_evidence(EVIDENCE.id).origin == "result.json"
    assert identify(replace(EVIDENCE, kv_dtype="fp8")).id != EVIDENCE.id


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": 2}', b"0" * 5_000_000])
def test_damaged_evidence_file_does_not_hide_others_and_can_be_removed(content: bytes) -> None:
    store_evidence(EVIDENCE)
    path = evidence_home() / "own-00000000.json"
    path.write_bytes(content)
    stored, errors = list_evidence()
    assert (stored, len(errors)) == ([EVIDENCE], 1)
    with pytest.raises(DamagedFileError):
        find_evidence("own-00000000")
    remove_evidence("own-00000000")
    assert list_evidence() == ([EVIDENCE], [])


def test_renamed_evidence_file_is_damaged_and_other_files_are_ignored() -> None:
    path = store_evidence(EVIDENCE)
    path.with_name("notes.json").write_text("anything")
    path.rename(path.with_name("own-00000000.json"))
    stored, errors = list_evidence()
    assert (stored, len(errors)) == ([], 1)


@pytest.mark.parametrize("evidence_id", ["own-0", "../runs", "own-00000000", ""])
def test_unknown_evidence_id_is_a_usage_error(evidence_id: str) -> None:
    for function in (find_evidence, remove_evidence):
        with pytest.raises(UsageError):
            function(evidence_id)


def test_failed_write_leaves_no_evidence(home: Path) -> None:
    home.mkdir()
    (home / "evidence").write_text("a file where the folder should be")
    with pytest.raises(Exception, match="cannot be written"):
        store_evidence(EVIDENCE)
    assert list_evidence() == ([], [])
