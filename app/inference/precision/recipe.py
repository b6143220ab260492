"""Recipe of a conversion to another precision: all inputs that determine the converted model, and
therefore its cache key."""

from __future__ import annotations

import hashlib
import mmap
import platform
import sys
from importlib.metadata import distributions
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.inference.inspection.client import inspect_model
from app.inference.model_file import check_model_file
from app.inference.rows import Feeds
from app.records.local import OnnxPrecision
from app.records.model import ShapeOverrides
from loadgen.regular_files import open_regular

MAX_MODEL_BYTES = 2**31 - 2**26
"""Maximum size of a model including its weights, in bytes. The converted model is a single file,
which protobuf limits to 2 GiB."""

_VERSION = 1
"""Version of the conversion code, incremented whenever the same recipe would produce a different
model."""

_LOCATION_KEY = b"location"


class WeightFile(msgspec.Struct, frozen=True):
    """An external weight file, named relative to the folder of the model."""

    name: str
    sha256: str


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """All inputs of a conversion, from which its cache key is computed."""

    precision: OnnxPrecision
    model_sha256: str
    model_bytes: int
    """Size of the model including its weights, in bytes."""
    weights: tuple[WeightFile, ...]
    calibration_sha256: str | None
    """Hash of the calibration rows for int8-static; `None` for other precisions."""
    spares_a_bit: bool
    """True if int8 weights are quantized to 7 bits (`reduce_range`), because 8-bit products can
    overflow on this processor."""
    tools: tuple[str, ...]
    version: int = _VERSION

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def build_recipe(model: Path, precision: OnnxPrecision, calibration: Feeds | None) -> Recipe:
    """Build the recipe of a conversion. Raises UsageError if the file is not a model or is too
    large to convert."""
    check_model_file(model)
    weights = _find_external_weights(model)
    total_bytes = sum(path.stat().st_size for path in (model, *weights.values()))
    if total_bytes > MAX_MODEL_BYTES:
        raise UsageError(
            (
                f"the model and its weights have {total_bytes / 2**30:.1f} GiB, but a converted model is a single file "
                "of less than 2 GiB"
            ),
            hint="Convert the model with the tool that exported it, and measure the result with precision as-is.",
        )
    return Recipe(
        precision=precision,
        model_sha256=hash_file(model),
        model_bytes=total_bytes,
        weights=tuple(WeightFile(name, hash_file(path)) for name, path in sorted(weights.items())),
        calibration_sha256=_hash_rows(calibration) if precision == "int8-static" and calibration is not None else None,
        spares_a_bit=precision.startswith("int8") and products_may_overflow(),
        tools=_list_tools(),
    )


def hash_file(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def products_may_overflow() -> bool:
    """Return True if this processor may accumulate products of uint8 and int8 in 16 bits, as x86
    processors without VNNI do. Also return True on x86 if VNNI cannot be detected."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    if sys.platform != "linux":
        return True
    return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")


def _find_external_weights(model: Path) -> dict[str, Path]:
    """Return the external weight files of a model by name. The model is only parsed, in a child
    process, if a scan finds a possible reference to an external file."""
    with open_regular(model) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_LOCATION_KEY) < 0:
            return {}
    files = inspect_model(model, ShapeOverrides()).external_files
    return {file.name: model.parent / file.name for file in files}


def _hash_rows(calibration: Feeds) -> str:
    digest = hashlib.sha256()
    for name, rows in sorted(calibration.items()):
        content = msgspec.json.encode(rows.tolist()) if rows.dtype.hasobject else rows.tobytes()
        digest.update(f"{name!r} {rows.dtype} {rows.shape} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _list_tools() -> tuple[str, ...]:
    """Return the names and versions of the installed ONNX packages. They are read from package
    metadata, because importing the packages takes longer than a cache lookup."""
    package_versions = {
        f"{package.name} {package.version}" for package in distributions() if package.name.lower().startswith("onnx")
    }
    return tuple(sorted(package_versions))
