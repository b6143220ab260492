"""What a bundle says of itself: `bundle.json`, beside the run's own folder in the zip.

What people say of a run after it: `labels.json` beside its facts, which stay as they were sealed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from app.records.control import NOTE_LENGTH

TAG = r"^[A-Za-z0-9][A-Za-z0-9._:/=@+-]{0,63}$"
MOST_TAGS = MOST_NOTES = 100
TITLE_LENGTH = 120
Tag = Annotated[str, msgspec.Meta(pattern=TAG)]


class Note(msgspec.Struct, frozen=True):
    """`at` is wall time with zone, ISO 8601."""

    at: str
    text: Annotated[str, msgspec.Meta(max_length=NOTE_LENGTH)]


class Labels(msgspec.Struct, frozen=True):
    """Version 1 is the first. Tags are in the order of the alphabet, notes as they came. `title` is what people call
    the run, beside its name, by which it belongs to a series; empty where nobody does."""

    sizewise_labels: Literal[1] = 1
    title: Annotated[str, msgspec.Meta(max_length=TITLE_LENGTH)] = ""
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=MOST_TAGS)] = ()
    notes: Annotated[tuple[Note, ...], msgspec.Meta(max_length=MOST_NOTES)] = ()


class BundledFile(msgspec.Struct, frozen=True):
    """`path` is relative to the run's directory, with slashes."""

    path: str
    size: int
    sha256: str


class Bundle(msgspec.Struct, frozen=True):
    """Version 1 is the first. Additions keep the number."""

    sizewise_bundle: Literal[1]
    run_id: str
    files: tuple[BundledFile, ...]
