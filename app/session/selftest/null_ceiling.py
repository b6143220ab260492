"""What the generator itself can send, found on a server that does nothing."""

from __future__ import annotations

from collections.abc import Iterator

from app.records.selftest import Finding, finding
from app.session.calibration import find_ceiling
from app.session.interruption import Interruption
from app.session.parts import Load
from app.session.selftest.parts import SelfTestParts

LEAST_PER_S = 1_000.0
"""Less than this, and the generator would be the limit of most runs."""


def check_ceiling(parts: SelfTestParts, load: Load, interruption: Interruption) -> Iterator[Finding]:
    found = find_ceiling("plain", load, parts.start_null_server, interruption, parts.read_core_use)
    yield finding(
        "null ceiling", "kept up with on a server that does nothing", found.per_s, low=LEAST_PER_S, unit="requests/s"
    )
