"""Numbers of an architecture that are known so far, and the reasons for those that are not."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any

import msgspec

from app.errors import UsageError

MAX_COUNT = 1_000_000_000

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)] | list[Any] | None
"""Number in a configuration. Some models have a list with one number per layer."""


class KnownCounts:
    """Numbers by their names in `Architecture.counts`, and the reason for each that is missing."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.missing: dict[str, str] = {}

    def get(self, name: str) -> int | None:
        return self.counts.get(name)

    def set(self, name: str, value: int | None, reason: str = "") -> None:
        """Set a number, or the reason why it is missing if `value` is None and it has none yet."""
        if value is None:
            self.missing.setdefault(name, reason)
        else:
            self.counts[name] = value
            self.missing.pop(name, None)

    def reject(self, name: str, reason: str) -> None:
        """Record that a number is not known, whatever was set before."""
        self.counts.pop(name, None)
        self.missing[name] = reason

    def read(self, name: str, value: Count, key: str) -> int | None:
        """Set a number to the value of `key` in a configuration, and return it; `None` if it is
        absent or has one value per layer. Raises UsageError for 0."""
        if value == 0:
            raise UsageError(
                f"the model's configuration is not valid: {key} is 0", hint="Download the configuration again."
            )
        count = value if isinstance(value, int) else None
        self.set(name, count, explain_missing(value, key))
        return count

    def check_key_sizes(self, sizes: Set[int], kv_heads: int | None, head_dim: int | None) -> None:
        """Record that the KV cache is unknown if the sizes of the keys and values in the tensors are
        not the number of KV heads times their size."""
        if not sizes or kv_heads is None or head_dim is None or sizes == {kv_heads * head_dim}:
            return
        sizes_text = ", ".join(f"{size:,}" for size in sorted(sizes)[:4])
        self.missing["kv_cache"] = (
            f"the key and value tensors have {sizes_text} rows, which are not {kv_heads:,} heads of {head_dim:,} in "
            "each layer"
        )


def explain_missing(value: Count, key: str) -> str:
    """Return why there is no number under `key` in a configuration."""
    return f"{key} is not in the configuration" if value is None else f"{key} has one value per layer"
