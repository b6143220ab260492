"""What a bundle says of itself: `bundle.json`, beside the run's own folder in the zip."""

from __future__ import annotations

from typing import Literal

import msgspec


class BundledFile(msgspec.Struct, frozen=True):
    """`path` is relative to the run's directory, with slashes."""

    path: str
    size: int
    sha256: str


class Bundle(msgspec.Struct, frozen=True):
    """Version 1 is the first. Additions keep the number."""

    sizewise_bundle: Literal[1]
    run_id: str
    files: tuple[BundledFile, ...]
