from __future__ import annotations

import hashlib
import json
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.records.control import StopRun
from app.storage.bundle import BUNDLE, export_run, import_directory, import_run
from app.storage.names import IMPORTED
from app.storage.run_directory import RunWriter, StoredRun, list_stored_runs, runs_home
from tests.fakes.results import full_run
from tests.tiers import first_in_unit_tier

ID = full_run().result.run_id


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "runs"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    with RunWriter(tmp_path / "run") as writer:
        writer.write_spec("sizewise: 1\n")
        writer.write_result(replace(full_run().result, artifacts=writer.seal()))
    export_run(StoredRun(tmp_path / "run"), tmp_path / "run.zip")
    return tmp_path / "run.zip"


class Forged:
    """The contents of a bundle, to be changed and written as another zip; `listed` has its checksums."""

    def __init__(self, bundle: Path) -> None:
        with zipfile.ZipFile(bundle) as archive:
            self.contents = {name: archive.read(name) for name in archive.namelist()}
        self.run_id: Any = ID
        self.version = 1
        self.listed: list[dict[str, Any]] = json.loads(self.contents.pop(BUNDLE))["files"]
        self.infos: dict[str, zipfile.ZipInfo] = {}

    def put(self, path: str, content: bytes, *, entry: str | None = None) -> None:
        """Add a file to the zip and to its list of files."""
        self.contents[f"{ID}/{path}" if entry is None else entry] = content
        self.listed = [listed_file for listed_file in self.listed if listed_file["path"] != path]
        self.listed.append({"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})

    def write(self, path: Path) -> Path:
        manifest = {"sizewise_bundle": self.version, "run_id": self.run_id, "files": self.listed}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.contents.items():
                archive.writestr(self.infos.get(name, name), content)
            archive.writestr(BUNDLE, json.dumps(manifest))
        return path


def test_imported_run_equals_the_exported_run(bundle: Path, tmp_path: Path, home: Path) -> None:
    directory, is_new = import_run(bundle)
    assert (directory, is_new) == (home / ID, True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before | {IMPORTED: b""}
    assert [run.run_id for run in list_stored_runs()] == [ID]
    export_run(StoredRun(directory), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_import_of_an_existing_run_is_reported_and_does_not_change_the_run(bundle: Path) -> None:
    directory, _ = import_run(bundle)
    (directory / "labels.json").write_text('{"sizewise_labels": 1, "tags": ["mine"]}')
    assert import_run(bundle) == (directory, False)
    assert "mine" in (directory / "labels.json").read_text()


def test_imported_directory_is_equivalent_to_its_bundle(bundle: Path, tmp_path: Path, home: Path) -> None:
    directory, is_new = import_directory(tmp_path / "run")
    assert (directory, is_new) == (home / ID, True)
    assert StoredRun(directory).result == StoredRun(tmp_path / "run").result
    assert import_directory(tmp_path / "run") == (directory, False)
    assert import_directory(directory) == (directory, False)


def test_directory_without_a_complete_run_is_not_imported(tmp_path: Path, home: Path) -> None:
    RunWriter(tmp_path / "cut").close()
    with pytest.raises(UsageError, match="was interrupted"):
        import_directory(tmp_path / "cut")
    with pytest.raises(UsageError, match="does not contain a run"):
        import_directory(tmp_path)
    assert not home.exists()


def test_import_of_another_run_with_the_same_id_is_rejected(bundle: Path) -> None:
    directory, _ = import_run(bundle)
    (directory / "result.json").write_bytes(b"another")
    with pytest.raises(UsageError, match="another run already has the ID"):
        import_run(bundle)
    assert (directory / "result.json").read_bytes() == b"another"


def has_parent_path(forged: Forged) -> None:
    forged.put("../../escaped", b"x")


def has_unlisted_parent_path(forged: Forged) -> None:
    forged.contents["../escaped"] = b"x"


def has_absolute_path(forged: Forged) -> None:
    forged.put("/tmp/escaped", b"x", entry="/tmp/escaped")


def has_windows_path(forged: Forged) -> None:
    forged.put("..\\escaped", b"x")


def has_a_drive(forged: Forged) -> None:
    forged.put("C:escaped", b"x")


def has_parent_path_as_id(forged: Forged) -> None:
    forged.run_id = "../escaped"


def has_a_hidden_id(forged: Forged) -> None:
    forged.run_id = ".trash"


def has_a_command(forged: Forged) -> None:
    forged.put("control/1.command", msgspec.json.encode(StopRun()))


def has_a_symlink(forged: Forged) -> None:
    forged.put("link", b"/etc/passwd")
    info = zipfile.ZipInfo(f"{ID}/link")
    info.external_attr, info.create_system = (stat.S_IFLNK | 0o777) << 16, 3
    forged.infos[f"{ID}/link"] = info


def has_names_that_differ_in_case(forged: Forged) -> None:
    forged.put("Result.JSON", b"{}")


def lists_a_file_twice(forged: Forged) -> None:
    forged.listed.append(forged.listed[0])


def has_a_changed_file(forged: Forged) -> None:
    forged.contents[f"{ID}/spec.yaml"] = b"sizewise: 2\n"


def has_a_changed_file_and_checksum(forged: Forged) -> None:
    forged.put("spec.yaml", b"sizewise: 2\n")


def lacks_an_artifact(forged: Forged) -> None:
    del forged.contents[f"{ID}/requests.arrow"]
    forged.listed = [entry for entry in forged.listed if entry["path"] != "requests.arrow"]


def lacks_a_listed_file(forged: Forged) -> None:
    del forged.contents[f"{ID}/requests.arrow"]


def has_a_wrong_size(forged: Forged) -> None:
    forged.listed[0]["size"] = 10**15


def lacks_its_result(forged: Forged) -> None:
    del forged.contents[f"{ID}/result.json"]
    forged.listed = [entry for entry in forged.listed if entry["path"] != "result.json"]


def has_an_invalid_result(forged: Forged) -> None:
    forged.put("result.json", b"[" * 100_000)


def has_a_newer_result(forged: Forged) -> None:
    forged.put("result.json", forged.contents[f"{ID}/result.json"].replace(b'"schema": 3', b'"schema": 4'))


def has_the_result_of_another_run(forged: Forged) -> None:
    forged.put("result.json", forged.contents[f"{ID}/result.json"].replace(ID.encode(), b"another"))


def has_a_newer_version(forged: Forged) -> None:
    forged.version = 2


def has_a_zip_bomb(forged: Forged) -> None:
    forged.put("zeros.arrow", bytes(50 << 20))


def has_many_files(forged: Forged) -> None:
    for number in range(2_001):
        forged.put(f"{number}.csv", b"")


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (has_parent_path, "is not a valid name for a file of a run"),
        (has_unlisted_parent_path, "its list of files does not match its contents"),
        (has_absolute_path, "is not a valid name for a file of a run"),
        (has_windows_path, "is not a valid name for a file of a run"),
        (has_a_drive, "is not a valid name for a file of a run"),
        (has_parent_path_as_id, "is not a valid run ID"),
        (has_a_hidden_id, "is not a valid run ID"),
        (has_a_command, "is not a valid name for a file of a run"),
        (has_a_symlink, "is not a regular file"),
        (has_names_that_differ_in_case, "two files of the same name"),
        (lists_a_file_twice, "lists a file twice"),
        (has_a_changed_file, "does not match its checksum"),
        (has_a_changed_file_and_checksum, "does not match its result.json"),
        (lacks_an_artifact, "does not match its result.json"),
        (lacks_a_listed_file, "its list of files does not match its contents"),
        (has_a_wrong_size, "its list of files does not match its contents"),
        (lacks_its_result, "it has no result.json"),
        (has_an_invalid_result, "its result.json cannot be read"),
        (has_a_newer_result, "it has schema 4, but this version of Sizewise reads schema 3"),
        (has_the_result_of_another_run, "its result.json belongs to another run"),
        (has_a_newer_version, "from a newer version"),
        (has_a_zip_bomb, "more than 250 times its size"),
        (has_many_files, "has 2,008 files"),
    ],
)
def test_forged_or_damaged_bundle_is_rejected_and_leaves_no_files(
    bundle: Path, tmp_path: Path, home: Path, forge: Callable[[Forged], None], message: str
) -> None:
    forged = Forged(bundle)
    forge(forged)
    path = forged.write(tmp_path / "forged.zip")
    with pytest.raises(UsageError, match=message.replace(".", r"\.")) as caught:
        import_run(path)
    assert "\n" not in str(caught.value)
    assert not home.exists() or not list(home.iterdir())
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("places", first_in_unit_tier([100, 400]))
def test_every_changed_byte_of_a_bundle_is_detected_or_harmless(
    bundle: Path, tmp_path: Path, home: Path, places: int
) -> None:
    """Some bytes of a zip are not read, so changing them has no effect on the run."""
    content = bundle.read_bytes()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for position in range(0, len(content), len(content) // places):
        path = tmp_path / "flipped.zip"
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            directory, _ = import_run(path)
        except UsageError:
            assert not home.exists() or not list(home.iterdir())
        else:
            assert {file.name: file.read_bytes() for file in directory.iterdir()} == before | {IMPORTED: b""}
            directory.rename(tmp_path / f"taken-{position}")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_bundle_is_rejected(bundle: Path, tmp_path: Path, home: Path, share: float) -> None:
    content = bundle.read_bytes()
    bundle.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UsageError, match="not a complete zip file"):
        import_run(bundle)
    assert not home.exists()


def test_oversized_central_directory_of_a_bundle_is_rejected(bundle: Path) -> None:
    content = bytearray(bundle.read_bytes() + bytes(64 << 20))
    end = content.rindex(b"PK\x05\x06")
    tail = content[end : end + 22]
    struct.pack_into("<L", tail, 12, 64 << 20)
    bundle.write_bytes(content + tail)
    with pytest.raises(UsageError, match="its central directory is too large"):
        import_run(bundle)


def test_bundle_with_an_oversized_declared_size_is_not_unpacked(bundle: Path, home: Path) -> None:
    content = bytearray(bundle.read_bytes())
    position = content.find(b"PK\x01\x02")
    while position >= 0:
        struct.pack_into("<L", content, position + 24, 0xFFFF_FFF0)
        position = content.find(b"PK\x01\x02", position + 1)
    bundle.write_bytes(content)
    with pytest.raises(UsageError, match="would unpack to 28 GiB"):
        import_run(bundle)
    assert not home.exists()


def test_file_without_a_name_in_a_bundle_is_rejected(bundle: Path, home: Path) -> None:
    content = bytearray(bundle.read_bytes())
    position = content.find(b"PK\x01\x02")
    length, *_ = struct.unpack_from("<H", content, position + 28)
    struct.pack_into("<HHH", content, position + 28, 0, 0, length)  # the name becomes the comment
    bundle.write_bytes(content)
    with pytest.raises(UsageError, match="its list of files does not match its contents: ''"):
        import_run(bundle)
    assert not home.exists()


def test_import_that_exceeds_the_free_disk_space_does_not_start(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    class Full:
        free = 100

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Full)
    with pytest.raises(UsageError, match="has less"):
        import_run(bundle)
    assert not list(runs_home().iterdir())


def test_missing_bundle_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be imported: No such file"):
        import_run(tmp_path / "none.zip")
