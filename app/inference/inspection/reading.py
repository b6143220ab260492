"""A model file as onnx's own records, without the weights that lie in other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from app.errors import UsageError
from app.inference.printable import printable

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_KNOWN_DOMAINS = STANDARD_DOMAINS | {
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
}
"""What onnx defines and what ONNX Runtime is built with; operators of any other domain are code from elsewhere."""


def read_model(path: Path) -> onnx.ModelProto:
    """Raises UsageError for bytes that are no ONNX model."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except MemoryError:
        raise
    except Exception as error:  # protobuf's own, which only the protocols may name
        nested = "its graphs are nested too deep" if "Depth" in str(error) else "it is something else, or was cut short"
        raise UsageError(f"{path.name} is not a model that ONNX can read: {nested}") from error
    if not model.HasField("graph") or not model.ir_version:
        raise UsageError(f"{path.name} is not an ONNX model: it holds no graph")
    if not _is_text(model):
        raise UsageError(f"{path.name} is not a model that ONNX can read: it has names that are no text")
    return model


def _is_text(message: Any) -> bool:
    """Whether all strings are; the format's second version hands on those that are not UTF-8 as bytes."""
    if isinstance(message, onnx.TensorProto):  # whose other fields are large, and would be copied
        return isinstance(message.name, str) and all(map(_is_text, message.external_data))
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            is_text = all(isinstance(one, str) for one in _several(value))
        else:
            is_text = field.type != field.TYPE_MESSAGE or all(map(_is_text, _several(value)))
        if not is_text:
            return False
    return True


def _several(value: Any) -> Any:
    """The values of a field, whether it holds one or many."""
    return [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value


def check_versions(model: onnx.ModelProto, name: str) -> None:
    """Raises UsageError for a model that is newer than the installed onnx, or says twice what it is."""
    if model.ir_version > onnx.IR_VERSION:
        raise UsageError(
            f"{name} has IR version {model.ir_version}; this version of onnx knows up to {onnx.IR_VERSION}",
            hint="Export the model again for an older one, or install a newer onnx.",
        )
    domains = [opset.domain for opset in model.opset_import]
    if len(domains) != len(set(domains)) or not domains:
        raise UsageError(f"{name} does not say once for each domain which operators it means")
    known = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in STANDARD_DOMAINS and not 1 <= opset.version <= known:
            raise UsageError(
                f"{name} needs opset {opset.version}; this version of onnx knows 1 to {known}",
                hint="Export the model again with an opset in that range, or install a newer onnx.",
            )


def check_domains(model: onnx.ModelProto, domains: set[str], name: str) -> None:
    """Raises UsageError where one of the `domains` its nodes are of needs code that is not ONNX Runtime's own."""
    own = {function.domain for function in model.functions}
    for domain in sorted(domains - _KNOWN_DOMAINS - own):
        raise UsageError(
            f"{name} needs operators of domain {printable(domain)}, which Sizewise never loads",
            hint="Export the model with standard operators only.",
        )
