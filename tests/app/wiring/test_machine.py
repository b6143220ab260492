from __future__ import annotations

from pathlib import Path

from app.wiring.machine import directory_checks


def test_a_run_on_a_network_file_system_is_a_warning_with_the_way_out(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n")
    assert directory_checks(tmp_path, mounts) == ()
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nfiler:/x {tmp_path} nfs4 rw 0 0\n")
    (check,) = directory_checks(tmp_path / "run", mounts)
    assert (check.verdict, check.value) == ("WARN", f"on nfs4 at {tmp_path}")
    assert "--out on a local disk" in str(check.hint)
