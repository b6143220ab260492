"""A document as the special editors of the Run page see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.errors import ProfileError


class EditedDocument:
    """`take` is what the page does with what an editor says was edited."""

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

    def take(self, path: str, value: object) -> None:
        *holders, last = path.split(".")
        here = self.tree
        for key in holders:
            here = here.setdefault(key, {})
        if value is None:
            here.pop(last, None)
        else:
            here[last] = value
