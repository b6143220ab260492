"""Title, tags and notes of a run, kept beside its facts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from app.errors import UsageError
from app.records.bundle import MOST_NOTES, MOST_TAGS, TAG, TITLE_LENGTH, Labels, Note
from app.storage.run_directory import write_whole
from loadgen.decoding import decode_json

LABELS = "labels.json"


def read_labels(run_directory: Path) -> Labels:
    """Empty where nobody said anything. Raises UsageError for a file that cannot be read."""
    path = run_directory / LABELS
    if not path.exists():
        return Labels()
    try:
        labels = decode_json(path.read_bytes(), Labels)
    except (OSError, msgspec.DecodeError) as error:
        hint = "It may come from a newer version of Sizewise; without it the run has no title, tags and notes."
        raise UsageError(f"{path} cannot be read: {error}", hint=hint) from None
    notes = tuple(Note(_one_line(note.at), _one_line(note.text)) for note in labels.notes)
    return replace(labels, title=_one_line(labels.title), notes=notes)


def set_title(run_directory: Path, title: str) -> Labels:
    """Empty takes it away. Raises UsageError for one that is too long, and changes nothing then."""
    words = _one_line(title)
    if len(words) > TITLE_LENGTH:
        raise UsageError(f"a title has at most {TITLE_LENGTH} characters, and this one {len(words)}")
    return _written(run_directory, replace(read_labels(run_directory), title=words))


def add_tags(run_directory: Path, tags: Iterable[str]) -> Labels:
    """Raises UsageError for what is no tag, and changes nothing then."""
    given = set(tags)
    wrong = sorted(tag for tag in given if not re.search(TAG, tag) or tag.endswith("\n"))
    if wrong:
        hint = "A tag is up to 64 letters, digits and . _ : / = @ + - and begins with a letter or digit."
        raise UsageError(f"{wrong[0]!r} is no tag", hint=hint)
    labels = read_labels(run_directory)
    together = given | set(labels.tags)
    if len(together) > MOST_TAGS:
        raise UsageError(f"a run takes {MOST_TAGS} tags, and these would be {len(together)}")
    return _written(run_directory, replace(labels, tags=tuple(sorted(together))))


def remove_tags(run_directory: Path, tags: Iterable[str]) -> Labels:
    """Raises UsageError for a tag that the run has not, and changes nothing then."""
    labels, given = read_labels(run_directory), set(tags)
    missing = sorted(given.difference(labels.tags))
    if missing:
        have = f"It has {', '.join(labels.tags)}." if labels.tags else "It has none."
        raise UsageError(f"the run in {run_directory} has no tag {missing[0]!r}", hint=have)
    return _written(run_directory, replace(labels, tags=tuple(tag for tag in labels.tags if tag not in given)))


def add_note(run_directory: Path, text: str, at: datetime) -> Labels:
    labels = read_labels(run_directory)
    if len(labels.notes) >= MOST_NOTES:
        raise UsageError(f"the run has {MOST_NOTES} notes, which is all it takes")
    note = Note(at.isoformat(timespec="seconds"), text)
    return _written(run_directory, replace(labels, notes=(*labels.notes, note)))


def put_labels(run_directory: Path, labels: Labels) -> Labels:
    """As they were before: undoing what was said. Raises UsageError where they cannot be written."""
    return _written(run_directory, labels)


def _written(run_directory: Path, labels: Labels) -> Labels:
    try:
        write_whole(run_directory / LABELS, msgspec.json.format(msgspec.json.encode(labels), indent=2))
    except OSError as error:
        raise UsageError(f"{run_directory / LABELS} cannot be written: {error.strerror}") from error
    return labels


def _one_line(text: str) -> str:
    """What steers no terminal: the file may be of another's hand."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
