"""Determine which execution providers can open a session on this machine. Also define the paths
of the sample model and its labeled rows.

When run as a program, the module prints a ProviderProbe."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec

import profiles
from app.errors import SizewiseError
from app.inference.child import exit_with_parent, run_reporting_errors
from loadgen.decoding import decode_json

_MODELS_DIRECTORY = Path(profiles.__file__).parent / "models"
DIGITS_MODEL = _MODELS_DIRECTORY / "digits.onnx"
DIGITS_ROWS = _MODELS_DIRECTORY / "digits.npz"
"""Path of 450 held-out rows for the sample model: `image` is float32 [450,1,8,8], as the model
expects, and `label` is int64 [450]."""


class FailedProvider(msgspec.Struct, frozen=True):
    """An execution provider that is part of the installed ONNX Runtime build but cannot run a
    session on this machine."""

    provider: str
    reason: str


class ProviderProbe(msgspec.Struct, frozen=True):
    """Execution providers that the installed build of ONNX Runtime contains. `working_providers` can
    open and run a session on this machine, `failed_providers` cannot.
    `runtime_version` is `None` if ONNX Runtime is not installed."""

    runtime_version: str | None
    working_providers: tuple[str, ...]
    failed_providers: tuple[FailedProvider, ...]


def probe_providers(timeout_s: float = 60.0) -> ProviderProbe:
    """Probe the execution providers in a child process, because a broken provider may crash its
    process. Raises MeasurementError if the child process crashes or does not finish in time."""
    from app.inference.parent import run_child

    if find_spec("onnxruntime") is None:
        return ProviderProbe(None, (), ())
    output = run_child("the check of ONNX Runtime's execution providers", "app.inference.probe", timeout_s=timeout_s)
    return decode_json(output, ProviderProbe)


def _main() -> None:
    exit_with_parent()
    sys.stdout.buffer.write(msgspec.json.encode(_probe()))


def _probe() -> ProviderProbe:
    from app.inference.session import get_runtime_version, list_providers

    reasons = {provider: _find_failure_reason(provider) for provider in list_providers()}
    return ProviderProbe(
        runtime_version=get_runtime_version(),
        working_providers=tuple(provider for provider, reason in reasons.items() if reason is None),
        failed_providers=tuple(FailedProvider(provider, reason) for provider, reason in reasons.items() if reason),
    )


def _find_failure_reason(provider: str) -> str | None:
    import numpy as np

    from app.inference.session import open_session

    try:
        session = open_session(DIGITS_MODEL, provider, threads=1)
        if session.provider_used == provider:
            session.run({"image": np.zeros((1, 1, 8, 8), np.float32)})
    except SizewiseError as error:
        return str(error)
    return session.provider_reason


if __name__ == "__main__":
    sys.exit(run_reporting_errors(_main))
