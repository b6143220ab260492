"""Where master and workers of several machines meet, and the secret they know each other by."""

from __future__ import annotations

import os
import re
import socket
from ipaddress import ip_address

import msgspec

from app.errors import UnavailableError, UsageError
from app.profiles import secrets
from loadgen.curve import FEWEST_CHARACTERS
from loadgen.plain import shown_place

TOKEN = "env:SIZEWISE_TOKEN"
"""Where the token is unless something else is said."""
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)
_MAKE_ONE = 'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


class RendezvousAddress(msgspec.Struct, frozen=True):
    """`host` is a name or an address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return shown_place(self.host, self.port)


def read_address(option: str, text: str) -> RendezvousAddress:
    """`HOST:PORT`, an IPv6 address in brackets. Raises UsageError, which names the option."""
    hint = f"Write {option} HOST:PORT, like 10.0.0.1:5557; an IPv6 address in brackets, like [fd00::1]:5557."
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise UsageError(f"{option} {text!r} has no port from 1 to 65535", hint=hint)
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if is_bracketed else host
    version = _ip_version(bare)
    if is_bracketed != (version == 6) or (version is None and _NAME.fullmatch(bare) is None):
        raise UsageError(f"{option} {text!r} names no host", hint=hint)
    return RendezvousAddress(bare, int(port))


def resolved(option: str, address: RendezvousAddress) -> RendezvousAddress:
    """With the first address of its name. Raises UnavailableError."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        hint = f"Check the name in {option}, or write the address."
        raise UnavailableError(
            f"the host {address.host} of {option} is not known: {error.strerror}", hint=hint
        ) from None
    return RendezvousAddress(str(found[0][4][0]), address.port)


def read_token(reference: str) -> str:
    """The secret at `env:NAME` or `file:PATH`; a variable is taken out of the environment, which a server that the
    run starts inherits. Raises UsageError, which never shows it."""
    if not secrets.is_reference(reference) or not reference.startswith(("env:", "file:")):
        raise UsageError("--token says where the token is, not what it is", hint="Write env:NAME, or file:PATH.")
    try:
        token = secrets.resolve_secret(reference)
    except UsageError as error:
        hint = f"Both sides need the same token, here in {reference}. {_MAKE_ONE}"
        raise UsageError(f"no token: {error}", hint=hint) from None
    if len(token) < FEWEST_CHARACTERS:
        why = f"the token in {reference} is of {len(token)} characters, and at least {FEWEST_CHARACTERS} are needed"
        raise UsageError(why, hint=_MAKE_ONE)
    if reference.startswith("env:"):
        os.environ.pop(reference.removeprefix("env:"), None)
    return token


def _ip_version(host: str) -> int | None:
    try:
        return ip_address(host).version
    except ValueError:
        return None
