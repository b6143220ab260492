from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from app.inference.conversion_folder import open_conversion_folder


def create_folder(folder: Path, age_s: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(b"weights")
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_only_stale_conversion_folders_of_exited_processes_are_removed(tmp_path: Path) -> None:
    stale, new = create_folder(tmp_path / "making-stale", 120), create_folder(tmp_path / "making-new", 0)
    other, linked = create_folder(tmp_path / "gguf-0", 1e6), tmp_path / "making-link"
    linked.symlink_to(other)
    with open_conversion_folder(tmp_path) as used:
        assert not stale.exists()
        create_folder(used, 120)
        with open_conversion_folder(tmp_path) as second:
            assert used.exists(), "its process is still running"
            assert second != used
    assert set(tmp_path.iterdir()) == {new, other, linked}
    assert (other / "model.onnx").exists()


def test_conversion_folders_without_locks_are_removed_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.conversion_folder._lock", lambda _: (None, None))
    recent, old = create_folder(tmp_path / "making-recent", 3600), create_folder(tmp_path / "making-old", 100_000)
    with open_conversion_folder(tmp_path):
        assert (recent.exists(), old.exists()) == (True, False)
