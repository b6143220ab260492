"""Commands sent to a running engine through its run directory, and the engine's responses."""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_NOTE_LENGTH = 500
MAX_RATE_PER_S = 1_000_000.0
MAX_EXTENSION_S = 86_400.0


class StopRun(msgspec.Struct, frozen=True, tag="stop"):
    """Command that stops the run like Ctrl-C: the first command lets in-flight requests finish, the
    second command cancels them."""


class AddNote(msgspec.Struct, frozen=True, tag="note"):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NOTE_LENGTH)]


class SetRate(msgspec.Struct, frozen=True, tag="rate"):
    """Command that sets the rate of open-loop arrivals until the end of the running stage."""

    rate_per_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_RATE_PER_S)]


class Extend(msgspec.Struct, frozen=True, tag="extend"):
    """Command that extends the running stage by `by_s` seconds. The stage must have a constant rate
    or a fixed number of clients."""

    by_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_EXTENSION_S)]


ControlCommand = StopRun | AddNote | SetRate | Extend


class ControlResponse(msgspec.Struct, frozen=True):
    """Response to a command: whether the command was accepted, and a message for the user."""

    is_accepted: bool
    message: str
