"""What a runtime would do of a graph: constants are worked out once, the rest at each inference."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import onnx

from app.inference.inspection.reading import STANDARD_DOMAINS
from app.inference.inspection.structure import Step, input_names, steps_of

_VIEWS = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Another name for the same bytes: a runtime moves nothing for them."""
_READS_NO_CONTENT = frozenset({"Shape", "Size"})
_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})
"""They read as much of their table as they give out."""
_RANDOM = frozenset({"Bernoulli", "Multinomial"})


class Dataflow(msgspec.Struct, frozen=True):
    """`steps` are those of each inference, in order; `weights` the constants they read, kept between inferences.

    `stored_forms` are constants in another form, which kernels read as they are stored (dequantised weights).
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    weights: frozenset[str]
    tables: frozenset[str]
    """Weights that are only looked up in, never read as a whole."""
    stored_forms: frozenset[str]

    def content_read(self, step: Step) -> Iterator[str]:
        """The activations whose bytes a step reads."""
        if not is_view(step) and step.node.op_type not in _READS_NO_CONTENT:
            yield from (name for name in step.reads if name not in self.weights and name not in self.stored_forms)

    def content_made(self, step: Step) -> Iterator[str]:
        if not is_view(step):
            yield from (name for name in step.makes if name not in self.stored_forms)


def dataflow_of(graph: onnx.GraphProto) -> Dataflow:
    """Raises UsageError for a graph that is none."""
    constants = {tensor.name for tensor in graph.initializer} | {one.values.name for one in graph.sparse_initializer}
    stored_forms: set[str] = set()
    live: list[Step] = []
    for step in steps_of(graph):
        is_fixed = constants.issuperset(step.reads)
        if is_fixed and step.node.op_type == "DequantizeLinear":
            stored_forms.update(step.makes)
        elif is_fixed and not _is_random(step.node):
            constants.update(step.makes)
            continue
        live.append(step)
    outputs = tuple(value.name for value in graph.output)
    whole = {name for step in live for name in step.reads[_is_lookup(step) :]}
    read = {name for step in live for name in step.reads}.union(outputs) & constants
    return Dataflow(
        inputs=tuple(input_names(graph)),
        outputs=outputs,
        steps=tuple(live),
        weights=frozenset(read),
        tables=frozenset(read - whole),
        stored_forms=frozenset(stored_forms),
    )


def is_view(step: Step) -> bool:
    """Whether the first output is the first input under another name."""
    return step.node.domain in STANDARD_DOMAINS and step.node.op_type in _VIEWS and bool(step.reads and step.makes)


def _is_lookup(step: Step) -> bool:
    return step.node.domain in STANDARD_DOMAINS and step.node.op_type in _LOOKUPS


def _is_random(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith("Random") or node.op_type in _RANDOM
