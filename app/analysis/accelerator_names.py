"""Names of accelerators as people say them, such as `h100` or "A100 80GB", matched with the keys of
the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable

NO_ACCELERATOR = "none"
"""Name that stands for instances without accelerators."""
_SEPARATORS = re.compile(r"[\s_-]+")
_VENDOR_WORDS = frozenset(("nvidia", "amd", "intel", "google", "aws", "tesla", "geforce", "instinct"))
"""Words that a name may begin with, but no key does."""
_PRODUCT_LINES = frozenset(("rtx", "quadro", "tpu", "jetson"))
"""First parts of keys that a name may omit, as in `4090`."""
_FORM_FACTORS = frozenset(("pcie", "sxm", "sxm2", "sxm4", "sxm5", "nvl"))
"""Parts of keys that a name may omit between other parts, as in `a100-80gb`."""


def matches_accelerator(key: str | None, name: str) -> bool:
    """Return whether a name denotes the accelerator with this key: the key itself, or its first
    parts, so that `h100` denotes all variants of the H100.

    `key` is `None` for instances without accelerators, which the name "none" denotes.
    """
    if key is None or name == NO_ACCELERATOR:
        return key is None and name == NO_ACCELERATOR
    key_parts, name_parts = key.split("-"), _split_name(name)
    first_parts = {"".join(key_parts[:length]) for length in range(1, len(key_parts) + 1)}
    if "".join(name_parts) in first_parts:
        return True
    omits_line = key_parts[0] in _PRODUCT_LINES and name_parts[0] != key_parts[0]
    return _matches_parts(key_parts[1:] if omits_line else key_parts, name_parts)


def list_short_names(keys: Iterable[str]) -> set[str]:
    """Return the first parts of the keys, such as `h100` and `h100-sxm5`, for suggestions."""
    parts_of_keys = (key.split("-") for key in keys)
    return {"-".join(parts[:length]) for parts in parts_of_keys for length in range(1, len(parts) + 1)} - _PRODUCT_LINES


def _split_name(name: str) -> list[str]:
    parts = _SEPARATORS.split(name.strip().casefold())
    return parts[1:] if len(parts) > 1 and parts[0] in _VENDOR_WORDS else parts


def _matches_parts(key_parts: list[str], name_parts: list[str]) -> bool:
    if not key_parts or key_parts[0] != name_parts[0]:
        return False
    position = 1
    for name_part in name_parts[1:]:
        while position < len(key_parts) and not _matches_part(key_parts[position], name_part):
            if key_parts[position] not in _FORM_FACTORS:
                return False
            position += 1
        if position == len(key_parts):
            return False
        position += 1
    return True


def _matches_part(key_part: str, name_part: str) -> bool:
    """Return whether a part of a name denotes a part of a key: `sxm` also denotes `sxm5`, and `80`
    also `80gb`."""
    without_number = key_part.rstrip("0123456789")
    return name_part in (key_part, key_part.removesuffix("gb")) or (
        bool(without_number) and name_part == without_number
    )
