from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.errors import DamagedFileError, UsageError
from app.storage.bundle import BUNDLE, export_run
from app.storage.run_directory import RunWriter, StoredRun
from tests.fakes.disk import largest_file
from tests.fakes.results import full_run


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    with RunWriter(tmp_path / "run") as writer:
        writer.write_spec("sizewise: 1\n")
        writer.write_result(replace(full_run().result, artifacts=writer.seal()))
    return StoredRun(tmp_path / "run")


def test_exported_bundle_is_reproducible_to_the_byte(run: StoredRun, tmp_path: Path) -> None:
    export_run(run, tmp_path / "one.zip")
    for path in run.directory.iterdir():
        os.utime(path, (10**9, 10**9))
        path.chmod(0o600)
    run.directory.rename(tmp_path / "elsewhere")
    export_run(StoredRun(tmp_path / "elsewhere"), tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_bundle_has_every_file_with_its_checksum_except_drafts_and_hidden_files(run: StoredRun, tmp_path: Path) -> None:
    (run.directory / "outputs").mkdir()
    (run.directory / "outputs" / "scores-1.npz").write_bytes(b"scores")
    for name in (".DS_Store", "report.html.part"):
        (run.directory / name).write_text("not this")
    bundle = export_run(run, tmp_path / "run.zip")
    assert [entry.path for entry in bundle.files] == [
        "events.jsonl", "journal.crc", "outputs/scores-1.npz", "requests.arrow", "result.json", "spec.yaml",
        "telemetry.arrow",
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        assert archive.namelist() == [*(f"{bundle.run_id}/{entry.path}" for entry in bundle.files), BUNDLE]
        checksums = {entry["path"]: entry["sha256"] for entry in json.loads(archive.read(BUNDLE))["files"]}
    artifact_checksums = {entry.path: entry.sha256 for entry in run.complete_result.artifacts}
    assert artifact_checksums.items() <= checksums.items()


def test_symlink_in_a_run_is_not_exported(run: StoredRun, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not of the run")
    (run.directory / "requests.parquet").symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError, match="is not a regular file"):
        export_run(run, tmp_path / "run.zip")
    assert not [path for path in tmp_path.iterdir() if ".zip" in path.name], "no bundle and no draft of a bundle"


def test_failed_export_leaves_no_partial_bundle(run: StoredRun, tmp_path: Path) -> None:
    with largest_file(100), pytest.raises(UsageError, match="cannot be written: File too large"):
        export_run(run, tmp_path / "run.zip")
    assert not [path for path in tmp_path.iterdir() if ".zip" in path.name]


def test_run_without_a_result_is_not_exported(tmp_path: Path) -> None:
    RunWriter(tmp_path / "cut").close()
    with pytest.raises(UsageError, match="was interrupted"):
        export_run(StoredRun(tmp_path / "cut"), tmp_path / "run.zip")


def test_file_name_that_is_invalid_on_other_systems_is_reported(run: StoredRun, tmp_path: Path) -> None:
    (run.directory / "what:this").write_text("")
    with pytest.raises(UsageError, match="what:this cannot be exported"):
        export_run(run, tmp_path / "run.zip")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("requests.arrow", lambda content: content[:-9]),
        ("telemetry.arrow", lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:]),
        ("spec.yaml", lambda content: content + b"#"),
    ],
)
def test_damaged_run_is_not_exported(
    run: StoredRun, tmp_path: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    path = run.directory / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedFileError, match=rf"is DAMAGED: {name} was"):
        export_run(run, tmp_path / "run.zip")
    path.unlink()
    with pytest.raises(DamagedFileError, match=rf"is DAMAGED: {name} is missing"):
        export_run(run, tmp_path / "run.zip")
    assert not list(tmp_path.glob("*.zip*"))


def test_run_that_an_import_would_reject_is_not_exported(run: StoredRun, tmp_path: Path) -> None:
    (run.directory / "zeros.bin").write_bytes(bytes(50_000_000))
    with pytest.raises(UsageError, match=r"cannot be exported: .* more than 250 times its size"):
        export_run(run, tmp_path / "run.zip")
    (run.directory / "zeros.bin").unlink()
    (run.directory / "events.jsonl").unlink()
    with pytest.raises(UsageError, match=r"cannot be exported: .* has no events\.jsonl"):
        export_run(run, tmp_path / "run.zip")
    assert not [path for path in tmp_path.iterdir() if ".zip" in path.name]
