"""Check that a converted model can be opened, has the same inputs and outputs as the original, and
returns finite results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import MeasurementError, SizewiseError, UsageError
from app.inference.rows import Feeds
from app.inference.session import ModelSession, open_session

_PROVIDER = "cpu"


def open_on_cpu(model: Path) -> ModelSession:
    """Open a model on the CPU with one thread."""
    return open_session(model, _PROVIDER, threads=1)


def run_converted_model(original_session: ModelSession, output_path: Path, feeds: Feeds) -> tuple[str, ...]:
    """Run the converted model on the given rows, and return notes on its outputs. Raises UsageError
    if the converted model does not run, and MeasurementError if its inputs or outputs differ from
    those of the original."""
    try:
        converted_session = open_on_cpu(output_path)
        outputs = converted_session.run(feeds)
    except SizewiseError as error:
        raise UsageError(f"the converted model does not run: {error}", hint="Use precision as-is.") from error
    if [(spec.name, spec.dtype) for spec in (*converted_session.inputs, *converted_session.outputs)] != [
        (spec.name, spec.dtype) for spec in (*original_session.inputs, *original_session.outputs)
    ]:
        raise MeasurementError(
            "the converted model has different inputs or outputs from the original", hint="Use precision as-is."
        )
    if _is_finite(original_session.run(feeds)) and not _is_finite(outputs):
        return ("the converted model has non-finite outputs, unlike the original",)
    return ()


def _is_finite(outputs: Sequence[npt.NDArray[Any]]) -> bool:
    return all(np.isfinite(output).all() for output in outputs if output.dtype.kind == "f")
