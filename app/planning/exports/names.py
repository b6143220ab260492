"""Names and label values that a cluster takes, from any text.

YAML documents under a comment of facts.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

_MOST = 40  # Knative and KServe append up to 20 more, and a DNS label ends at 63
_DIGEST = 6
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def dns_name(text: str) -> str:
    """A DNS label that begins with a letter, at most 40 long; a longer one ends in a digest of the whole text."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not words:
        words = "plan"
    elif not words[0].isalpha():
        words = f"plan-{words}"
    if len(words) <= _MOST:
        return words
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:_DIGEST]
    return f"{words[: _MOST - _DIGEST - 1].rstrip('-')}-{digest}"


def is_label_value(text: str) -> bool:
    return _LABEL_VALUE.fullmatch(text) is not None


Document = dict[str, Any]
_MOST_OF_A_LINE = 400
_PLAIN = re.compile(r"[A-Za-z]")


class _Dumper(yaml.SafeDumper):
    """Writes every mapping out: readers of manifests do not look for anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # other readers of YAML take 1e3, 0o7 and 1_0 for numbers, which PyYAML does not and so would leave plain
    style = None if _PLAIN.match(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def one_line(text: str) -> str:
    """For a comment: what is not printable, line ends among it, becomes a space, and what is too long is cut."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    words = " ".join(printable.split())
    return words if len(words) <= _MOST_OF_A_LINE else words[: _MOST_OF_A_LINE - 1] + "…"


def yaml_text(comment: Iterable[str], documents: Sequence[Document]) -> str:
    """Keys keep their order."""
    head = "".join(f"# {one_line(line)}".rstrip() + "\n" for line in comment)
    return head + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, explicit_start=True)
