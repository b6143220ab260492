"""Whether what was made opens, takes and gives what the original does, and answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import InstrumentError, SizewiseError, UsageError
from app.inference.rows import Feeds
from app.inference.session import ModelSession, open_session

_PROVIDER = "cpu"


def opened(model: Path) -> ModelSession:
    return open_session(model, _PROVIDER, threads=1)


def try_made(original: ModelSession, draft: Path, feeds: Feeds) -> tuple[str, ...]:
    """Notes on its answers to these rows. Raises UsageError for a model that does not run as the original does."""
    try:
        made = opened(draft)
        answers = made.run(feeds)
    except SizewiseError as error:
        raise UsageError(f"what the tools made does not run: {error}", hint="Measure it as it is.") from error
    if [(one.name, one.dtype) for one in (*made.inputs, *made.outputs)] != [
        (one.name, one.dtype) for one in (*original.inputs, *original.outputs)
    ]:
        raise InstrumentError("what the tools made has other inputs or outputs")
    if _is_finite(original.run(feeds)) and not _is_finite(answers):
        return ("its answers hold numbers that are not finite, where the original's do not",)
    return ()


def _is_finite(answers: Sequence[npt.NDArray[Any]]) -> bool:
    return all(np.isfinite(answer).all() for answer in answers if answer.dtype.kind == "f")
