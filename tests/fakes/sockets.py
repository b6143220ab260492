"""Listening sockets of the processes of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from tests.fakes.processes import children_of

_LISTENING = "0A"


def family_of(pid: int) -> set[int]:
    """The process and all of its descendants."""
    members, new = {pid}, [pid]
    while new:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just left
            new += children_of(new[0])
        members.update(new)
        del new[0]
    return members


def listening(pid: int) -> dict[str, str]:
    """Addresses of listening sockets in the network namespace of that process, by inode: 10.0.0.1:80, IPv6 in hex."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return {fields[9]: _readable(fields[1]) for fields in lines if fields[3] == _LISTENING}


def listening_of(pids: Iterable[int]) -> set[str]:
    """Addresses at which these processes listen."""
    addresses: set[str] = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            sockets = listening(pid)
            addresses.update(sockets[inode] for inode in _sockets_of(pid) if inode in sockets)
    return addresses


def _sockets_of(pid: int) -> Iterable[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            kind, _, inode = str(descriptor.readlink()).partition(":")
            if kind == "socket":
                yield inode.strip("[]")


def _readable(local: str) -> str:
    address, port = local.split(":")
    shown = ".".join(str(byte) for byte in bytes.fromhex(address)[::-1]) if len(address) == 8 else f"[{address}]"
    return f"{shown}:{int(port, 16)}"
