"""Optional parts of the installation: the extra that installs each package which the base does not
need."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from app.errors import UnavailableError

Extra = Literal["gui", "local", "llm", "plan", "report"]
_EXTRAS: dict[str, Extra] = {
    "PySide6": "gui",
    "pyqtgraph": "gui",
    "onnx": "local",
    "onnxruntime": "local",
    "onnxruntime_genai": "llm",
    "gguf": "llm",
    "numba": "plan",
    "altair": "report",
    "jinja2": "report",
    "vl_convert": "report",
}
_PURPOSES: dict[Extra, str] = {
    "gui": "the desktop app",
    "local": "running models on this machine",
    "llm": "running language models on this machine",
    "plan": "planning a fleet",
    "report": "a report in HTML",
}


def build_missing_package_error(error: ModuleNotFoundError) -> UnavailableError | None:
    """Return the error for a package of an extra that is not installed; `None` for any other
    module."""
    package = (error.name or "").partition(".")[0]
    return _build_error(package, _EXTRAS[package]) if package in _EXTRAS else None


def find_missing_package(extra: Extra) -> UnavailableError | None:
    """Return the error for the first package of the extra that is not installed; `None` if all are."""
    packages = (package for package, package_extra in _EXTRAS.items() if package_extra == extra)
    return next((_build_error(package, extra) for package in packages if find_spec(package) is None), None)


def require_extra(extra: Extra) -> None:
    """Raise UnavailableError if a package of the extra is not installed."""
    if (error := find_missing_package(extra)) is not None:
        raise error


def _build_error(package: str, extra: Extra) -> UnavailableError:
    return UnavailableError(
        f"{_PURPOSES[extra]} requires the package {package}, which is not installed",
        hint=f'Install it with `pip install "sizewise[{extra}]"`.',
    )
