"""A document as the special editors of the Run page use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.errors import ProfileError


class EditedDocument:
    """`set_value` does what the page does with an edited value."""

    def __init__(self, tree: dict[str, Any], path: Path | None = None) -> None:
        self.tree, self.path = tree, path
        self.error: ProfileError | None = None

    def value(self, path: str) -> object | None:
        here: Any = self.tree
        for key in path.split("."):
            if not isinstance(here, dict) or key not in here:
                return None
            here = here[key]
        return here  # type: ignore[no-any-return]

    def set_value(self, path: str, value: object) -> None:
        *parents, last = path.split(".")
        here = self.tree
        for key in parents:
            here = here.setdefault(key, {})
        if value is None:
            here.pop(last, None)
        else:
            here[last] = value
