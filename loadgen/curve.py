"""CURVE authentication and encryption (RFC 26 of ZeroMQ): only clients with the master's token can
connect to the master.

The key pairs of the master and of its workers are derived from the token. The master's public key
is never sent, so a client without the token cannot complete the handshake: ZeroMQ drops the
connection before Locust or Sizewise receives a byte. All traffic is encrypted, because commands
contain the target's API keys. Until the handshake fails, ZeroMQ buffers at most one frame of an
unknown client, for a few seconds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import lru_cache

import zmq
from zmq.utils import z85

MIN_TOKEN_CHARS = 16
"""Minimum length of a token in characters. Shorter tokens could be found by an offline attack on
recorded traffic."""

MAX_FRAME_BYTES = 2**18
"""Maximum size in bytes of one frame of a message to a master. A message can have any number of
frames."""
_ENCRYPTION_OVERHEAD_BYTES = 64
"""Maximum number of bytes that encryption adds to a frame."""
_HANDSHAKE_TIMEOUT_MS = 5_000

_SCRYPT_PARAMETERS = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 2**20, "dklen": 64}


def generate_token() -> str:
    return secrets.token_urlsafe(32)


def secure_master_socket(socket: zmq.Socket[bytes], token: str) -> None:
    """Enable authentication and encryption on the socket of a master, before the socket is bound.

    The socket then accepts only frames of at most MAX_FRAME_BYTES, as returned by
    `split_into_frames`.
    """
    master_secret, _ = _derive_keys(token)
    socket.curve_secretkey = master_secret
    socket.curve_publickey = zmq.curve_public(master_secret)
    socket.curve_server = True
    socket.maxmsgsize = MAX_FRAME_BYTES + _ENCRYPTION_OVERHEAD_BYTES
    socket.handshake_ivl = _HANDSHAKE_TIMEOUT_MS


def secure_worker_socket(socket: zmq.Socket[bytes], token: str) -> None:
    """Enable authentication and encryption on the socket of a worker, before the socket is
    connected."""
    master_secret, worker_secret = _derive_keys(token)
    socket.curve_secretkey = worker_secret
    socket.curve_publickey = zmq.curve_public(worker_secret)
    socket.curve_serverkey = zmq.curve_public(master_secret)


def split_into_frames(message: bytes) -> Sequence[bytes | memoryview]:
    """Split a message to a master into frames of at most MAX_FRAME_BYTES bytes each."""
    if len(message) <= MAX_FRAME_BYTES:
        return (message,)
    view = memoryview(message)
    return [view[offset : offset + MAX_FRAME_BYTES] for offset in range(0, len(view), MAX_FRAME_BYTES)]


@lru_cache(maxsize=4)
def _derive_keys(token: str) -> tuple[bytes, bytes]:
    """Derive the secret keys of the master and of its workers from the token. Return the keys in
    this order."""
    key_bytes = hashlib.scrypt(token.encode(), salt=b"sizewise load workers", **_SCRYPT_PARAMETERS)
    return z85.encode(key_bytes[:32]), z85.encode(key_bytes[32:])
