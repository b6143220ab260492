"""Names and label values that a cluster takes, from any text."""

from __future__ import annotations

import hashlib
import re
import unicodedata

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
