"""Commands to a running engine through its run directory, and its responses."""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_NOTE_LENGTH = 500
MAX_RATE_PER_S = 1_000_000.0
MAX_EXTENSION_S = 86_400.0


class StopRun(msgspec.Struct, frozen=True, tag="stop"):
    """Stop the run like Ctrl-C: the first lets in-flight requests finish, the second cancels them."""


class AddNote(msgspec.Struct, frozen=True, tag="note"):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NOTE_LENGTH)]


class SetRate(msgspec.Struct, frozen=True, tag="rate"):
    """Set the rate of the running stage's open arrivals from now to its end."""

    rate_per_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_RATE_PER_S)]


class Extend(msgspec.Struct, frozen=True, tag="extend"):
    """Extend the running stage, which has one rate or clients, by this time."""

    by_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_EXTENSION_S)]


ControlCommand = StopRun | AddNote | SetRate | Extend


class ControlResponse(msgspec.Struct, frozen=True):
    """Response to a command: whether it was accepted, and a message for the sender."""

    is_accepted: bool
    message: str
