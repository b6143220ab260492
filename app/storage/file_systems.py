"""Whether a directory is on a network file system, where rows of a run can come late or get lost."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

_NETWORK_TYPES = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.blobfuse",
})  # fmt: skip
MOUNTS = Path("/proc/self/mounts")
_OCTAL = re.compile(r"\\([0-7]{3})")


class NetworkMount(msgspec.Struct, frozen=True):
    kind: str
    mount_point: str


def network_mount(directory: Path, mounts: Path = MOUNTS) -> NetworkMount | None:
    """The network file system that a directory is on, or will be; None on a local one, and where the system does not
    list its mounts."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = directory.resolve()
    found: NetworkMount | None = None
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[1])
        is_nearer = found is None or len(Path(point).parts) >= len(Path(found.mount_point).parts)
        if is_nearer and place.is_relative_to(point):
            found = NetworkMount(fields[2], point)
    return found if found is not None and found.kind in _NETWORK_TYPES else None
