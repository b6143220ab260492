"""Detect network file systems, on which rows of a run can arrive late or be lost."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

_NETWORK_TYPES = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.blobfuse",
})  # fmt: skip
MOUNTS = Path("/proc/self/mounts")
_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")


class NetworkMount(msgspec.Struct, frozen=True):
    kind: str
    mount_point: str


def find_network_mount(directory: Path, mounts: Path = MOUNTS) -> NetworkMount | None:
    """Return the network file system of a directory, which need not exist yet.

    Return `None` for a local file system, or if the operating system does not list its mounts.
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    resolved_directory = directory.resolve()
    mount: NetworkMount | None = None
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        mount_point = _OCTAL_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[1])
        is_more_specific = mount is None or len(Path(mount_point).parts) >= len(Path(mount.mount_point).parts)
        if is_more_specific and resolved_directory.is_relative_to(mount_point):
            mount = NetworkMount(fields[2], mount_point)
    return mount if mount is not None and mount.kind in _NETWORK_TYPES else None
