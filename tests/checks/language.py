"""Words and sentence forms of the first version that nobody in the field uses, and where they are left.

`python -m tests.checks.language [--list] [WORD ...]` counts them in names, docstrings, comments, texts and pages.
`python -m tests.checks.language --sample 200 --seed COMMIT` draws docstrings, names and texts for a reviewer.

Only words that have no use in the field are counted; ordinary words such as take, keep or answer are judged by reading.
`MAX_LEFT` holds what may still be there; it only goes down.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.checks.prose import Kind, Passage, page_lines, passages

_WORDS = {
    "tell": "tell(s|ing)?|told|telling",
    "hear": "hear(s|ing|d)?",
    "heed": "heed(s|ed|ing)?",
    "obey": "obey(s|ed|ing)?",
    "wish": "wish(es|ed)?",
    "deed": "deeds?",
    "reckon": "reckon(s|ed|ing)?",
    "supposed": "suppos(e|es|ed|ition)",
    "spoilt": "spoil(s|t|ed|ing)?",
    "crew": "crews?",
    "orchestra": "orchestras?",
    "rung": "rungs?",
    "stray": "stray(s|ed|ing)?",
    "stand-in": "stand[- ]?ins?",
    "doubt": "doubts?|doubtful|doubtfully",
    "judge": "judg(e|es|ed|ing|ement|ements|eable)",
    "belief": "beliefs?|believed?",
    "settle": "settl(e|es|ed|ing)",
    "swing": "swings?",
    "manner": "manners?",
    "assurance": "assurances?",
    "hiding": "hiding|hidings",
    "conductor": "conductors?",
    "agenda": "agendas?",
    "lasts": "lasts",
    "so many": "so (many|much|few|long as it)",
    "of which": "of which",
    "goes on": "go(es)? on",
    "most/least": "(MOST|LEAST|FEWEST)",
}
_IN_TEXT = {
    word: re.compile(rf"(?<![\w-])({pattern})(?![\w-])", re.IGNORECASE)
    for word, pattern in _WORDS.items()
    if word != "most/least"
}
_IN_NAMES = {word: re.compile(pattern.replace(" ", ""), re.IGNORECASE) for word, pattern in _WORDS.items()}
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PHRASES = {"of which", "so many", "goes on"}
"""Phrases, which no single part of a name can match."""

_DANGLING = frozenset(["of", "as", "by", "that", "than", "so", "and", "or", "but", "which", "whose", "also"])
"""A docstring does not begin with one of these."""
_SUBORDINATE = frozenset(
    [
        "in",
        "on",
        "at",
        "from",
        "to",
        "with",
        "without",
        "until",
        "since",
        "because",
        "where",
        "when",
        "while",
        "if",
        "for",
        "only",
    ]
)
"""A docstring begins with one of these only if a main clause follows after a comma."""

MAX_LEFT = {
    "belief": 1, "hear": 1, "most/least": 2, "settle": 1, "stand-in": 1, "tell": 4, "wish": 1,
}  # fmt: skip
"""What is left: words of the corpus for synthetic prompts, and "tells you" on pages."""


class Finding(NamedTuple):
    word: str
    passage: Passage


def findings(every: Iterable[Passage]) -> Iterator[Finding]:
    """Yield each use of a word of the list and each docstring that is a fragment."""
    for passage in every:
        for word in words_in(passage):
            yield Finding(word, passage)
        if passage.kind is Kind.DOCSTRING and is_fragment(passage.text):
            yield Finding("fragment", passage)


def words_in(passage: Passage) -> list[str]:
    """Return the words of the list that the passage uses."""
    if passage.kind is not Kind.NAME:
        return [word for word, pattern in _IN_TEXT.items() if pattern.search(passage.text)]
    parts = _PARTS.findall(passage.text)
    words = [word for word in _WORDS if word not in _PHRASES and any(_IN_NAMES[word].fullmatch(part) for part in parts)]
    if passage.text.lstrip("_").isupper():
        return words
    return [word for word in words if word != "most/least"]


def is_fragment(docstring: str) -> bool:
    """Whether the first sentence has no main clause and is no noun phrase that can stand alone."""
    sentence = re.split(r"(?<=[.:;])\s", docstring)[0]
    first = sentence.split(" ")[0].strip("`*\"'").lower()
    return first in _DANGLING or (first in _SUBORDINATE and "," not in sentence)


def sample(every: Iterable[Passage], count: int, seed: str) -> list[Passage]:
    """Draw `count` docstrings, `count` names and `count` texts; the same ones for the same seed."""
    by_kind: dict[Kind, list[Passage]] = {Kind.DOCSTRING: [], Kind.NAME: [], Kind.TEXT: []}
    for passage in every:
        if passage.kind in by_kind:
            by_kind[passage.kind].append(passage)
    draw = random.Random(seed)
    return [passage for found in by_kind.values() for passage in draw.sample(found, min(count, len(found)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="*", help="only these words")
    parser.add_argument("--list", action="store_true", help="print each use")
    parser.add_argument("--under", default="", help="only paths that begin so")
    parser.add_argument("--sample", type=int, default=0, metavar="COUNT")
    parser.add_argument("--seed", help="the commit whose hash seeds the sample (default: HEAD)")
    arguments = parser.parse_args()
    root = Path()
    if arguments.sample:
        seed = arguments.seed or subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
        for passage in sample(passages(root), arguments.sample, seed):
            print(passage.kind, passage)
        return 0
    every = [one for source in (passages(root), page_lines(root)) for one in source]
    found = [
        finding
        for finding in findings(every)
        if finding.passage.path.startswith(arguments.under) and (not arguments.word or finding.word in arguments.word)
    ]
    if arguments.list:
        for finding in found:
            print(f"{finding.word}\t{finding.passage}")
    counts = Counter((finding.word, finding.passage.kind) for finding in found)
    kinds = list(Kind)
    print(f"{'':12}" + "".join(f"{kind:>10}" for kind in kinds))
    for word in [*_WORDS, "fragment"]:
        row = [counts[word, kind] for kind in kinds]
        if any(row):
            print(f"{word:12}" + "".join(f"{count:>10}" for count in row))
    totals = Counter(finding.word for finding in found)
    worse = [
        f"{word}: {count}, at most {MAX_LEFT.get(word, 0)}"
        for word, count in totals.items()
        if count > MAX_LEFT.get(word, 0)
    ]
    for line in worse:
        print(line)
    return bool(worse)


if __name__ == "__main__":
    sys.exit(main())
