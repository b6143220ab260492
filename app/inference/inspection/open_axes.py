"""The axes a model leaves open, and the lengths they get: by the user, or by the batch."""

from __future__ import annotations

import onnx

from app.errors import UsageError
from app.inference.inspection.structure import input_names
from app.inference.printable import printable
from app.records.model import GivenShapes

Shape = tuple[int | str, ...]

_LONGEST_AXIS = 2**40


class InputShapes:
    """`shapes` by input, with what the user gave put in; None where even the number of axes is open."""

    def __init__(self, graph: onnx.GraphProto, given: GivenShapes) -> None:
        fed = set(input_names(graph))
        tensors = (value for value in graph.input if value.name in fed and value.type.HasField("tensor_type"))
        self.declared = {value.name: declared_shape(value) for value in tensors}
        self.axes = dict(given.axes)
        _check_names(self.declared, given)
        for name, lengths in given.shapes.items():
            self._take(name, lengths)
        self.shapes = {name: self._filled(name, shape, given) for name, shape in self.declared.items()}
        first = {shape[0] for shape in self.shapes.values() if shape} - {
            axis for shape in self.shapes.values() for axis in (shape or ())[1:]
        }
        self.batch_axes = tuple(sorted(axis for axis in first if isinstance(axis, str)))

    @property
    def fixed_batch(self) -> int | None:
        """The rows of an inference where the batch is not open."""
        if self.batch_axes:
            return None
        first = next((shape[0] for shape in self.shapes.values() if shape), 1)
        return first if isinstance(first, int) else None

    def missing(self) -> str | None:
        """What must be given before sizes can be told, as a sentence; None where nothing is missing."""
        for name, shape in self.shapes.items():
            if shape is None:
                return (
                    f"input {printable(name)} has no shape in the file; give it with --shape {printable(name)}=N,3,32"
                )
        left = sorted({axis for shape in self.shapes.values() for axis in shape or () if isinstance(axis, str)})
        asked = [printable(axis) for axis in left if axis not in self.batch_axes]
        if not asked:
            return None
        options = " ".join(f"--axis {axis}=VALUE" for axis in asked)
        return f"the model leaves the length of {', '.join(asked)} open; give it with {options}"

    def at(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Every input's shape at a batch; only where nothing is missing."""
        return {
            name: tuple(axis if isinstance(axis, int) else batch for axis in shape or ())
            for name, shape in self.shapes.items()
        }

    def _take(self, name: str, lengths: tuple[int | None, ...]) -> None:
        declared = self.declared[name]
        if declared is None:
            return
        if len(declared) != len(lengths):
            raise UsageError(
                f"input {name} has {len(declared)} axes, and {len(lengths)} are given",
                hint=f"The model says {shown(declared)}.",
            )
        for axis, length in zip(declared, lengths, strict=True):
            if length is None:
                continue
            if (axis if isinstance(axis, int) else self.axes.setdefault(axis, length)) != length:
                which = f"axis {printable(str(axis))} of input {name}"
                raise UsageError(f"{which} cannot be {length}: the model or another option differs")

    def _filled(self, name: str, declared: Shape | None, given: GivenShapes) -> Shape | None:
        if declared is None:
            lengths = given.shapes.get(name)
            if lengths is None:
                return None
            return tuple(f"{name}.{i}" if one is None else one for i, one in enumerate(lengths))
        return tuple(self.axes.get(axis, axis) if isinstance(axis, str) else axis for axis in declared)


def declared_shape(value: onnx.ValueInfoProto) -> Shape | None:
    """An open axis by its name, or `NAME.INDEX`; None for an unknown number of axes and for what is no tensor."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else axis.dim_param or f"{value.name}.{i}"
        for i, axis in enumerate(value.type.tensor_type.shape.dim)
    )


def shown(shape: Shape | None) -> str:
    return "n/a" if shape is None else " × ".join(printable(str(axis)) for axis in shape) or "one number"


def _check_names(declared: dict[str, Shape | None], given: GivenShapes) -> None:
    lengths = [*given.axes.values(), *(one for shape in given.shapes.values() for one in shape if one is not None)]
    if any(not 1 <= length <= _LONGEST_AXIS for length in lengths):
        raise UsageError(f"an axis has a length of 1 to {_LONGEST_AXIS}")
    for name in given.shapes:
        if name not in declared:
            known = ", ".join(map(printable, declared)) or "none"
            raise UsageError(f"the model has no input {name!r}", hint=f"Its inputs: {known}.")
    open_axes = {axis for shape in declared.values() for axis in shape or () if isinstance(axis, str)}
    for axis in given.axes:
        if axis not in open_axes:
            known = ", ".join(sorted(map(printable, open_axes))) or "none"
            raise UsageError(f"the model has no open axis {axis!r}", hint=f"Its open axes: {known}.")
