"""README and the pages of docs for tests: fenced blocks, the comment for tests before each, and links."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "profiles" / "examples"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
_BLOCK = re.compile(
    r"(?:^<!-- run: (?P<orders>[^>]*?) -->\n)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def name_of(page: Path) -> str:
    """Name of a page in the ID of a test."""
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block; `orders` is the comment before it, by its first words (docs/architecture.md)."""

    language: str
    title: str
    text: str
    orders: dict[str, str] = field(default_factory=dict)

    @property
    def commands(self) -> list[str]:
        """The lines of a block of commands, without comments."""
        return [line for line in (re.sub(r"\s+# .*", "", line).strip() for line in self.text.splitlines()) if line]

    @property
    def runs_here(self) -> bool:
        return self.language in ("sh", "python") and not self.orders.keys() & {"elsewhere", "needs"}


def blocks_of(page: Path) -> list[Block]:
    return [
        Block(match["language"], match["title"] or "", match["text"], _orders(match["orders"] or ""))
        for match in _BLOCK.finditer(page.read_text("utf-8"))
    ]


def _orders(text: str) -> dict[str, str]:
    orders = (part.strip().partition(" ") for part in text.split(";"))
    return {word: rest.strip() for word, _, rest in orders if word}


def without_comments(text: str) -> str:
    """The lines of a file without its comments."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def prose_of(page: Path) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def links_of(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose_of(page)))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site generator makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower() for heading in headings)
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}
