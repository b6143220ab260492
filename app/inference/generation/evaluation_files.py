"""Files of the evaluation of a language model: the text, which is untrusted, and the predictions on
it, which the parent process compares with those of another precision."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from app.analysis.local.perplexity import TextScores
from app.errors import DamagedFileError, UsageError
from loadgen.regular_files import open_regular

MAX_TEXT_BYTES = 2**23
"""Maximum size of the text in bytes. The test set of WikiText-2 has 1.3 MB."""


def read_evaluation_text(path: Path) -> str:
    """Read a text file in UTF-8. Raises UsageError if it does not exist, is too large, is empty or
    has another encoding."""
    if not path.is_file():
        raise UsageError(f"the text {path} is not a file", hint="Set the path of a text file in UTF-8.")
    try:
        with open_regular(path) as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the text {path} cannot be read: {error.strerror}", hint="Check its permissions.") from error
    if len(content) > MAX_TEXT_BYTES:
        raise UsageError(
            f"the text {path.name} exceeds the maximum of {MAX_TEXT_BYTES} bytes", hint="Use a part of the text."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the text {path.name} is not valid UTF-8 at byte {error.start}", hint="Convert the file to UTF-8."
        ) from error
    if not text.strip() or "\0" in text:
        problem = "contains NUL characters" if "\0" in text else "is empty"
        raise UsageError(f"the text {path.name} {problem}", hint="Set the path of a text file in UTF-8.")
    return text


_ARRAYS = ("tokens", "log_likelihoods", "top_tokens", "sampled_indices", "sampled_log_probabilities")
_WINDOW = "window"


def encode_text_scores(scores: TextScores) -> bytes:
    """Return scores as an uncompressed `.npz` file of NumPy."""
    arrays: dict[str, Any] = {name: getattr(scores, name) for name in _ARRAYS}
    arrays[_WINDOW] = np.array([scores.window_tokens, scores.stride_tokens], np.int64)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def decode_text_scores(content: bytes) -> TextScores:
    """Decode scores that `encode_text_scores` encoded. Raises DamagedFileError for other content."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            window_tokens, stride_tokens = archive[_WINDOW].tolist()
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DamagedFileError(
            f"the predictions on the text cannot be read: {error}", hint="Measure the reference again."
        ) from error
    return TextScores(window_tokens=window_tokens, stride_tokens=stride_tokens, **arrays)
