"""Kubernetes names and label values from arbitrary strings, and YAML documents with a leading
comment."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

_MAX_NAME_LENGTH = 40  # Knative and KServe append up to 20 more characters, and a DNS label has at most 63
_DIGEST_LENGTH = 6
_LABEL_VALUE_PATTERN = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def make_dns_name(text: str) -> str:
    """Convert a string to a DNS label of at most 40 characters that begins with a letter.

    Longer labels are truncated and end with a digest of the original string.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    label = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")
    if not label:
        label = "plan"
    elif not label[0].isalpha():
        label = f"plan-{label}"
    if len(label) <= _MAX_NAME_LENGTH:
        return label
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:_DIGEST_LENGTH]
    return f"{label[: _MAX_NAME_LENGTH - _DIGEST_LENGTH - 1].rstrip('-')}-{digest}"


def is_label_value(text: str) -> bool:
    return _LABEL_VALUE_PATTERN.fullmatch(text) is not None


Document = dict[str, Any]
_MAX_LINE_LENGTH = 400
_PLAIN_SCALAR_START = re.compile(r"[A-Za-z]")


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes no anchors and aliases, since they are unusual in manifests."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # other YAML readers parse 1e3, 0o7 and 1_0 as numbers; PyYAML does not, so it would leave them
    # unquoted
    style = None if _PLAIN_SCALAR_START.match(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_string)


def format_one_line(text: str) -> str:
    """Convert a string to a single line for a comment.

    Non-printable characters, such as line breaks, become spaces; lines over 400 characters are
    truncated.
    """
    printable_text = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(printable_text.split())
    return line if len(line) <= _MAX_LINE_LENGTH else line[: _MAX_LINE_LENGTH - 1] + "…"


def dump_yaml(comment_lines: Iterable[str], documents: Sequence[Document]) -> str:
    """Return the documents as YAML, preceded by a comment. The order of keys is preserved."""
    comment_text = "".join(f"# {format_one_line(line)}".rstrip() + "\n" for line in comment_lines)
    return comment_text + yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, explicit_start=True
    )
