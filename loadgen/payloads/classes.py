"""Which of a model's outputs holds its classes, and which class each row was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from loadgen.payloads.tensors import Tensor

Named = tuple[str, Tensor]
Kind = Literal["class", "scores"]

_NAME_IT = "Name the one that holds the class or its scores in workload.output."


class UnclearOutputError(Exception):
    """No output, or more than one, can hold the classes. `hint` says what to change."""

    def __init__(self, message: str, hint: str = _NAME_IT, *, is_none: bool = False) -> None:
        super().__init__(message)
        self.hint, self.is_none = hint, is_none


def class_output(outputs: Sequence[Named], rows: int, wanted: str | None = None) -> int:
    """The index of the output that holds the class of each of the first rows: the one named `wanted`, else the only one
    of whole numbers, one a row, else the only one of scores, one a class. Raises UnclearOutputError."""
    kinds = [kind_of(tensor, rows) for _, tensor in outputs]
    if wanted is not None:
        index = next((at for at, (name, _) in enumerate(outputs) if name == wanted), None)
        if index is None:
            raise UnclearOutputError(f"the model has no output {wanted!r}; it has {_listed(outputs)}")
        if kinds[index] is None:
            raise UnclearOutputError(f"output {_shown(outputs[index])} has neither a class nor scores for each row")
        return index
    for kind in ("class", "scores"):
        found = [at for at, one in enumerate(kinds) if one == kind]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnclearOutputError(
                f"{len(found)} outputs of the model may hold its classes: {_listed([outputs[at] for at in found])}"
            )
    raise UnclearOutputError(
        f"no output of the model has a class or scores for each row: {_listed(outputs)}",
        "Accuracy needs whole numbers, one a row, or scores, one a class. Without them, leave workload.labels out.",
        is_none=True,
    )


def kind_of(tensor: Tensor, rows: int) -> Kind | None:
    """What an output holds for each row, None where it is neither."""
    if not tensor.ndim or len(tensor) < rows or not rows:
        return None
    axes = [axis for axis in tensor.shape[1:] if axis != 1]
    if not axes:
        return "class" if tensor.dtype.kind in "iu" else None
    return "scores" if len(axes) == 1 and axes[0] > 1 and tensor.dtype.kind in "fiu" else None


def classes_of(tensor: Tensor, rows: int) -> npt.NDArray[Any]:
    """The class of each of the first rows of an output that `kind_of` knows."""
    flat = tensor[:rows].reshape(rows, -1)
    return flat[:, 0] if flat.shape[1] == 1 else np.asarray(flat.argmax(axis=1))


def _listed(outputs: Sequence[Named]) -> str:
    return ", ".join(map(_shown, outputs))


def _shown(output: Named) -> str:
    name, tensor = output
    if not tensor.ndim or not tensor.size:
        return f"{name!r}"
    return f"{name!r} ({tensor.dtype} of {' x '.join(map(str, tensor.shape))})"
