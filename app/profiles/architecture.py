"""The CPU's architecture, read from an instance type's name where the provider's naming tells it."""

from __future__ import annotations

import re
from typing import Literal

Architecture = Literal["x86_64", "arm64"]
# superchips with an Arm CPU of their own beside the accelerator
_ARM_SUPERCHIPS = ("gh200", "gb200", "gb300", "gb10")
# a g after the generation's digit is Graviton: c7g, m8g, g5g, x2gd; a1 is the first of them
_AWS_ARM = re.compile(r"a1\.|[a-z]+\d+[a-z]*g[a-z]*\.")
_GCP_ARM = re.compile(r"(?:c4a|n4a|t2a|a4x)-")
# a p among the letters after the size is Arm: Standard_D16ps_v5
_AZURE_ARM = re.compile(r"Standard_[A-Z]+\d+(?:-\d+)?[a-z]*p[a-z]*(?:_|$)")
_ARM = {"aws": _AWS_ARM, "gcp": _GCP_ARM, "azure": _AZURE_ARM}
_NEBIUS_X86 = re.compile(r"cpu-[de]\d")


def cpu_architecture(provider: str, instance_type: str, accelerator: str | None) -> Architecture | None:
    """None where the name does not tell, as on marketplaces."""
    if accelerator is not None and accelerator.startswith(_ARM_SUPERCHIPS):
        return "arm64"
    if provider in _ARM:
        return "arm64" if _ARM[provider].match(instance_type) else "x86_64"
    return "x86_64" if provider == "nebius" and _NEBIUS_X86.match(instance_type) else None
