from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.storage.checksums import CHECKSUMS, update_checksum, write_checksums
from app.storage.run_directory import RunWriter
from tests.fakes.results import run_without_load

pytestmark = pytest.mark.process


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    with RunWriter(directory) as writer:
        writer.write_spec("a: 1\n")
        writer.write_result(run_without_load().result)
        writer.store_outputs("one", np.zeros(3))
        writer.write_file("report.html", b"<p>")
    (directory / "mine.txt").write_text("no file of the run")
    write_checksums(directory, ["report.html", "junit.xml"])
    return directory


def _run_sha256sum(run: Path) -> tuple[int, str]:
    program = shutil.which("sha256sum")
    assert program is not None
    completed = subprocess.run([program, "-c", CHECKSUMS], cwd=run, capture_output=True, text=True, check=False)
    return completed.returncode, completed.stdout


def test_checksum_file_covers_every_file_of_the_run_and_passes_sha256sum(run: Path) -> None:
    code, output = _run_sha256sum(run)
    assert code == 0
    assert [line.removesuffix(": OK") for line in output.splitlines()] == [
        "events.jsonl", "outputs/one.npz", "report.html", "requests.arrow", "result.json", "spec.yaml",
        "telemetry.arrow",
    ]  # fmt: skip


def test_updated_checksum_of_one_file_does_not_hide_damage_of_others(run: Path) -> None:
    (run / "report.html").write_text("<p>anew")
    (run / "result.json").write_text("damaged")
    update_checksum(run, "report.html")
    code, output = _run_sha256sum(run)
    assert code == 1
    assert "report.html: OK" in output
    assert "result.json: FAILED" in output


def test_checksum_update_does_not_create_a_missing_checksum_file(run: Path) -> None:
    (run / CHECKSUMS).unlink()
    update_checksum(run, "report.html")
    assert not (run / CHECKSUMS).exists()
