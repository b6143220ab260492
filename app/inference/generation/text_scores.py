"""Store the predictions of a language model on a text, so that another process can compare them
with those of another precision."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from app.analysis.local.perplexity import TextScores
from app.errors import DamagedFileError

_ARRAYS = ("tokens", "log_likelihoods", "top_tokens", "sampled_indices", "sampled_log_probabilities")
_WINDOW = "window"


def write_text_scores(path: Path, scores: TextScores) -> None:
    """Write scores to an uncompressed `.npz` file of NumPy."""
    arrays: dict[str, Any] = {name: getattr(scores, name) for name in _ARRAYS}
    arrays[_WINDOW] = np.array([scores.window_tokens, scores.stride_tokens], np.int64)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read_text_scores(path: Path) -> TextScores:
    """Read scores that `write_text_scores` wrote. Raises DamagedFileError for another file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            window_tokens, stride_tokens = archive[_WINDOW].tolist()
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DamagedFileError(
            f"the predictions in {path.name} cannot be read: {error}", hint="Measure the reference again."
        ) from error
    return TextScores(window_tokens=window_tokens, stride_tokens=stride_tokens, **arrays)
