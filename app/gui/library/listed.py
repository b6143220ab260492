"""Table of the stored runs: its frame, formats and filter."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from app.gui.formatting import NOT_AVAILABLE, clock_time, one_line, size
from app.reporting.run_rows import Listing, RunRow, searched_text

COLUMNS = ("name", "when", "target", "outcome", "trust", "carries", "size", "tags")


class Listed(msgspec.Struct, frozen=True):
    """The listed runs. `frame` and `texts` (the searchable text) have one entry per row."""

    rows: tuple[RunRow, ...]
    unread: int
    frame: pd.DataFrame
    texts: tuple[str, ...]

    @property
    def bytes_on_disk(self) -> int:
        return sum(row.size_bytes for row in self.rows)


def listed_runs(listing: Listing) -> Listed:
    """Build the table. Can be called from any thread."""
    return Listed(listing.rows, listing.unread, frame_of(listing.rows), tuple(map(searched_text, listing.rows)))


def frame_of(rows: Sequence[RunRow]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": [one_line(row.called) for row in rows],
            "when": [row.started_at for row in rows],
            "target": [
                None if row.protocol is None else one_line(row.url or row.model or row.protocol) for row in rows
            ],
            "outcome": [row.outcome for row in rows],
            "trust": [row.verdict or row.state for row in rows],
            "carries": [None if row.carries is None else one_line(row.carries) for row in rows],
            "size": [row.size_bytes for row in rows],
            "tags": [", ".join(row.tags) for row in rows],
        },
        columns=list(COLUMNS),
    )


def mask_of(listed: Listed, words: str, trust: str | None, tag: str | None) -> npt.NDArray[np.bool_] | None:
    """Return the mask of the rows that match all filters, with the rules of `app.reporting.run_rows.matching`.

    Return None if no filter is set.
    """
    terms = words.casefold().split()
    if not terms and trust is None and tag is None:
        return None
    return np.fromiter(
        (
            (trust in (None, row.verdict)) and (tag is None or tag in row.tags) and all(term in text for term in terms)
            for row, text in zip(listed.rows, listed.texts, strict=True)
        ),
        dtype=bool,
        count=len(listed.rows),
    )


HEADERS = {
    "name": "Run",
    "when": "When",
    "target": "Target",
    "outcome": "Outcome",
    "trust": "Trust",
    "carries": "Carries",
    "tags": "Tags",
    "size": "Size",
}


def moment(value: object) -> str:
    return clock_time(value) if isinstance(value, str) else NOT_AVAILABLE


def bytes_text(value: object) -> str:
    return size(int(value)) if isinstance(value, int | float) and value == value else NOT_AVAILABLE
