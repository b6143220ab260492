from __future__ import annotations

from pathlib import Path

import pytest

from app.storage.file_systems import NetworkMount, find_network_mount

MOUNTS = """/dev/sda1 / ext4 rw 0 0
filer:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/me/scratch xfs rw 0 0
//nas/my\\040data /mnt/my\\040data cifs rw 0 0
autofs /auto autofs rw 0 0
nas:/auto /auto nfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("directory", "mount"),
    [
        ("/tmp/run", None),
        ("/homes/run", None),
        ("/home/me/runs/1", NetworkMount("nfs4", "/home")),
        ("/home/me/scratch/run", None),
        ("/mnt/my data/run", NetworkMount("cifs", "/mnt/my data")),
        ("/auto/run", NetworkMount("nfs", "/auto")),
    ],
)
def test_network_mount_of_a_directory_is_the_nearest_mount(
    tmp_path: Path, directory: str, mount: NetworkMount | None
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert find_network_mount(Path(directory), tmp_path / "mounts") == mount


def test_network_mount_is_none_without_a_list_of_mounts(tmp_path: Path) -> None:
    assert find_network_mount(Path("/run"), tmp_path / "none") is None
