"""What a running engine can be asked through its run directory, and what it answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

NOTE_LENGTH = 500
HIGHEST_RATE_PER_S = 1_000_000.0
MOST_EXTENDED_S = 86_400.0


class StopRun(msgspec.Struct, frozen=True, tag="stop"):
    """Like Ctrl-C: the first lets what is in flight finish, the second cuts it."""


class AddNote(msgspec.Struct, frozen=True, tag="note"):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=NOTE_LENGTH)]


class SetRate(msgspec.Struct, frozen=True, tag="rate"):
    """From now on, the running stage's open arrivals come at this rate, to its end."""

    rate_per_s: Annotated[float, msgspec.Meta(gt=0, le=HIGHEST_RATE_PER_S)]


class Extend(msgspec.Struct, frozen=True, tag="extend"):
    """The running stage of one rate, or of clients, goes on for so much longer."""

    by_s: Annotated[float, msgspec.Meta(gt=0, le=MOST_EXTENDED_S)]


Wish = StopRun | AddNote | SetRate | Extend


class Answer(msgspec.Struct, frozen=True):
    """Whether the wish was granted, and a sentence for whoever had it."""

    granted: bool
    message: str
