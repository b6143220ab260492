"""Store the title, tags and notes of a run, separately from the run data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from app.errors import UNWRITABLE_FILE_HINT, UsageError
from app.records.bundle import MAX_NOTES, MAX_TAGS, MAX_TITLE_LENGTH, TAG_PATTERN, Labels, Note
from app.storage.run_directory import write_atomically
from loadgen.decoding import decode_json

LABELS = "labels.json"


def read_labels(run_directory: Path) -> Labels:
    """Read the labels of a run; empty if no labels were set. Raises UsageError if the file cannot
    be read."""
    path = run_directory / LABELS
    if not path.exists():
        return Labels()
    try:
        labels = decode_json(path.read_bytes(), Labels)
    except (OSError, msgspec.DecodeError) as error:
        hint = "It may come from a newer version of Sizewise. If you delete it, the run has no title, tags or notes."
        raise UsageError(f"{path} cannot be read: {error}", hint=hint) from None
    notes = tuple(Note(_to_single_line(note.at), _to_single_line(note.text)) for note in labels.notes)
    return replace(labels, title=_to_single_line(labels.title), notes=notes)


def set_title(run_directory: Path, title: str) -> Labels:
    """Set the title of a run; an empty title removes the current title. Raises UsageError, and
    changes nothing, if the title is too long."""
    clean_title = _to_single_line(title)
    if len(clean_title) > MAX_TITLE_LENGTH:
        raise UsageError(
            f"a title has at most {MAX_TITLE_LENGTH} characters (got {len(clean_title)})", hint="Use a shorter title."
        )
    return _write_labels(run_directory, replace(read_labels(run_directory), title=clean_title))


def add_tags(run_directory: Path, tags: Iterable[str]) -> Labels:
    """Add tags to a run. Raises UsageError, and changes nothing, if a tag is not valid."""
    requested_tags = set(tags)
    invalid_tags = sorted(tag for tag in requested_tags if not re.search(TAG_PATTERN, tag) or tag.endswith("\n"))
    if invalid_tags:
        hint = "Use up to 64 letters, digits or . _ : / = @ + - and start with a letter or digit."
        raise UsageError(f"{invalid_tags[0]!r} is not a valid tag", hint=hint)
    labels = read_labels(run_directory)
    all_tags = requested_tags | set(labels.tags)
    if len(all_tags) > MAX_TAGS:
        raise UsageError(
            f"a run has at most {MAX_TAGS} tags (got {len(all_tags)})", hint="Remove tags that are no longer needed."
        )
    return _write_labels(run_directory, replace(labels, tags=tuple(sorted(all_tags))))


def remove_tags(run_directory: Path, tags: Iterable[str]) -> Labels:
    """Remove tags from a run. Raises UsageError, and changes nothing, if the run does not have one
    of the tags."""
    labels, requested_tags = read_labels(run_directory), set(tags)
    missing_tags = sorted(requested_tags.difference(labels.tags))
    if missing_tags:
        tags_hint = f"It has {', '.join(labels.tags)}." if labels.tags else "It has no tags."
        raise UsageError(f"the run in {run_directory} has no tag {missing_tags[0]!r}", hint=tags_hint)
    return _write_labels(
        run_directory, replace(labels, tags=tuple(tag for tag in labels.tags if tag not in requested_tags))
    )


def add_note(run_directory: Path, text: str, at: datetime) -> Labels:
    labels = read_labels(run_directory)
    if len(labels.notes) >= MAX_NOTES:
        raise UsageError(f"the run already has the maximum of {MAX_NOTES} notes")
    note = Note(at.isoformat(timespec="seconds"), text)
    return _write_labels(run_directory, replace(labels, notes=(*labels.notes, note)))


def restore_labels(run_directory: Path, labels: Labels) -> Labels:
    """Restore earlier labels, to undo a change. Raises UsageError if the file cannot be written."""
    return _write_labels(run_directory, labels)


def _write_labels(run_directory: Path, labels: Labels) -> Labels:
    try:
        write_atomically(run_directory / LABELS, msgspec.json.format(msgspec.json.encode(labels), indent=2))
    except OSError as error:
        raise UsageError(
            f"{run_directory / LABELS} cannot be written: {error.strerror}", hint=UNWRITABLE_FILE_HINT
        ) from error
    return labels


def _to_single_line(text: str) -> str:
    """Return the text as one line without control characters, because the labels may come from
    another user."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
