from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from app.errors import DamagedFileError, UsageError
from app.storage.baselines import read_baseline
from app.storage.checksums import write_checksums
from app.storage.names import CHECKSUMS, RESULT, TELEMETRY
from app.storage.run_directory import RunWriter, StoredRun, find_run, link_run, runs_home
from app.wiring.sharing_runs import import_shared_run, set_baseline, share_run
from tests.fakes.golden_runs import golden_run
from tests.fakes.results import full_run

pytestmark = pytest.mark.process

SECRET = 'sizewise: 1\ntarget:\n  headers: {Authorization: "Bearer sk-abcdef"}\n'


@pytest.mark.parametrize(("spec", "message"), [("sizewise: 1\n", None), (SECRET, "may contain a secret")])
def test_run_with_a_secret_is_not_shared(tmp_path: Path, spec: str, message: str | None) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.write_spec(spec)
        writer.write_result(full_run().result)
    run = StoredRun(tmp_path / "run")
    if message is None:
        assert share_run(run, tmp_path / "out.zip").run_id == full_run().result.run_id
    else:
        with pytest.raises(UsageError, match=message):
            share_run(run, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").exists() == (message is None)


def test_bundle_cannot_be_written_into_its_own_run(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.write_result(full_run().result)
    with pytest.raises(UsageError, match="inside the directory of the exported run"):
        share_run(StoredRun(tmp_path / "run"), tmp_path / "run" / "out.zip")


def _bundled(tmp_path: Path, pages: dict[str, str]) -> Path:
    run = golden_run("local", tmp_path)
    for name, page in pages.items():
        (run / name).write_text(page)
    share_run(StoredRun(run), tmp_path / "out.zip")
    return tmp_path / "out.zip"


def test_imported_run_has_no_page_without_the_extra_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    run = golden_run("local", tmp_path)
    (run / "report.html").write_text("<script>steal()</script>")
    write_checksums(run, ("report.html",))
    assert "report.html" in (run / CHECKSUMS).read_text()
    monkeypatch.setattr("app.extras.find_spec", lambda package: None)
    directory, _ = import_shared_run(run)
    assert not (directory / "report.html").exists()
    checksums = (directory / CHECKSUMS).read_text()
    assert "report.html" not in checksums
    assert RESULT in checksums


def test_imported_report_is_rendered_again_and_other_pages_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    script = "<script>steal()</script>"
    bundle = _bundled(tmp_path, {"report.html": script, "more.SVG": script, "report-reevaluated.html": script})
    directory, is_new = import_shared_run(bundle)
    assert is_new
    page = (directory / "report.html").read_text("utf-8")
    assert "steal()" not in page
    assert "Content-Security-Policy" in page
    assert not [path.name for path in directory.rglob("*") if path.is_file() and b"steal()" in path.read_bytes()]
    checksum_lines = [line.split("  ") for line in (directory / CHECKSUMS).read_text().splitlines()]
    listed = {name: checksum for checksum, name in checksum_lines}
    assert listed["report.html"] == hashlib.sha256(page.encode()).hexdigest()
    assert import_shared_run(bundle) == (directory, False)


def test_run_with_damaged_rows_and_matching_checksums_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    run = golden_run("local", tmp_path)
    content = bytearray((run / TELEMETRY).read_bytes())
    position = content.index(b"host_memory_gib")
    content[position] = 0xFF
    (run / TELEMETRY).write_bytes(content)
    result = StoredRun(run).unverified_result
    assert result is not None
    checksum = hashlib.sha256(content).hexdigest()
    artifacts = tuple(
        replace(artifact, sha256=checksum) if artifact.path == TELEMETRY else artifact for artifact in result.artifacts
    )
    (run / RESULT).write_bytes(msgspec.json.encode(replace(result, artifacts=artifacts)))
    (run / CHECKSUMS).unlink()
    share_run(StoredRun(run), tmp_path / "out.zip")
    with pytest.raises(DamagedFileError, match="telemetry"):
        import_shared_run(tmp_path / "out.zip")
    assert not list((tmp_path / "home" / "runs").iterdir())


def test_promoted_run_outside_the_home_is_copied_into_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    run_id = full_run().result.run_id
    with RunWriter(tmp_path / "results") as writer:
        writer.write_spec("sizewise: 1\n")
        writer.write_result(full_run().result)
    link_run(tmp_path / "results", run_id)
    assert (runs_home() / run_id).is_symlink()
    assert set_baseline(find_run("last")).run_id == run_id
    assert not (runs_home() / run_id).is_symlink()
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    assert read_baseline("promoted", full_run().result.name).run_id == run_id
    assert find_run("last").run_id == run_id, "a copy of an own run is not an imported run"


def test_id_of_a_moved_run_can_be_imported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    with RunWriter(tmp_path / "results") as writer:
        writer.write_spec("sizewise: 1\n")
        writer.write_result(full_run().result)
    bundle = tmp_path / "run.zip"
    share_run(StoredRun(tmp_path / "results"), bundle)
    link_run(tmp_path / "results", full_run().result.run_id)
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    directory, is_new = import_shared_run(bundle)
    assert is_new
    assert not directory.is_symlink()
