"""Which of this machine's GPUs a variant's devices are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from app.records.estimate import Variant
from app.records.result import Gpu


def gpus_of(variant: Variant, gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """By index or UUID; the first where the variant names none. MIG instances are none of them: what NVML tells of the
    whole card is not theirs alone."""
    known = {gpu.index: gpu for gpu in gpus}
    hashes = {gpu.uuid_hash: gpu for gpu in known.values() if gpu.uuid_hash is not None}
    found = (
        known.get(int(device)) if device.isdecimal() else hashes.get(uuid_hash(device))
        for device in variant.devices or ("0",)
    )
    return tuple(gpu for gpu in found if gpu is not None)


def uuid_hash(uuid: str) -> str:
    """As environments keep it."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:12]
