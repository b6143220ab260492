"""Who may speak to a master: whoever has its token, and nobody else, by CURVE (RFC 26 of ZeroMQ).

Both key pairs are derived from the token. The master's public key never crosses the wire, so a client without the
token cannot even say hello: ZeroMQ drops it before Locust, or we, see a byte. All that is said is encrypted, as it must
be: a plan holds the target's keys. What ZeroMQ keeps of a stranger until then is one frame, for a few seconds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import lru_cache

import zmq
from zmq.utils import z85

FEWEST_CHARACTERS = 16
"""Of a token: whoever listens on the network could try short ones at home."""

FRAME_BYTES = 2**18
"""Of a message to a master, which may have many."""
_ENCRYPTED = 64
"""A frame has fewer bytes more once it is encrypted."""
_HANDSHAKE_MS = 5_000

_SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 2**20, "dklen": 64}


def new_token() -> str:
    return secrets.token_urlsafe(32)


def guard_master(socket: zmq.Socket[bytes], token: str) -> None:
    """Before it is bound. It then takes only what comes `in_frames`."""
    secret, _ = _keys(token)
    socket.curve_secretkey = secret
    socket.curve_publickey = zmq.curve_public(secret)
    socket.curve_server = True
    socket.maxmsgsize = FRAME_BYTES + _ENCRYPTED
    socket.handshake_ivl = _HANDSHAKE_MS


def guard_worker(socket: zmq.Socket[bytes], token: str) -> None:
    """Before it is connected."""
    of_master, secret = _keys(token)
    socket.curve_secretkey = secret
    socket.curve_publickey = zmq.curve_public(secret)
    socket.curve_serverkey = zmq.curve_public(of_master)


def in_frames(message: bytes) -> Sequence[bytes | memoryview]:
    """A message to a master, in pieces that it takes."""
    if len(message) <= FRAME_BYTES:
        return (message,)
    whole = memoryview(message)
    return [whole[at : at + FRAME_BYTES] for at in range(0, len(whole), FRAME_BYTES)]


@lru_cache(maxsize=4)
def _keys(token: str) -> tuple[bytes, bytes]:
    """The master's secret key and the workers'."""
    both = hashlib.scrypt(token.encode(), salt=b"sizewise load workers", **_SCRYPT)
    return z85.encode(both[:32]), z85.encode(both[32:])
