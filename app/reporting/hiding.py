"""A report without the names of hosts and models, and without what was sent: for whoever may see the numbers only.

Each name is replaced by the same word in every place of the report, of the result and the profile that travel in it,
and of what is written beside it. The run itself is not changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal, get_args

import msgspec

from app.errors import ProfileError
from app.profiles.document import document_text, read_document
from app.profiles.editing import REMOVED, value_at, with_value
from app.records.result import Result
from app.reporting.names_told import Name, names_told
from app.reporting.texts import texts_of, with_texts
from app.storage.run_directory import LONGEST_WORD, word_of_id
from reports.model import Report

Kind = Literal["hosts", "models", "prompts"]
KINDS: tuple[Kind, ...] = get_args(Kind)
HIDDEN = "(hidden)"
_WORDS: dict[Kind, str] = {
    "hosts": "the names and addresses of hosts",
    "models": "the names of models",
    "prompts": "what was sent, and what was to be answered",
}
_SENT = (
    ("workload", "body"), ("workload", "bodies"), ("workload", "template"), ("workload", "extra_body"),
    ("workload", "expect"), ("target", "scripted", "answer"),
)  # fmt: skip
_UNREADABLE = "# Left out: it cannot be read, so that nothing in it can be hidden.\n"
_EVERYDAY = {
    "api", "chat", "cpu", "cuda", "default", "endpoint", "engine", "generator", "gpu", "host", "latency", "local",
    "machine", "model", "request", "requests", "run", "server", "stage", "target", "test", "tokens", "worker",
}  # fmt: skip
"""Words of every report: as a name they are replaced where they stand alone."""
_BETWEEN = r"(?:%[0-9a-f]{2}|[\W_]){1,2}"
_BEFORE, _AFTER = r"(?:(?<![^\W_])|(?<=%[0-9a-f]{2}))", r"(?![^\W_])"


class StandIn(msgspec.Struct, frozen=True):
    """`shown` in place of what was `written`, in so many `places` of the report and of what it carries. Of what was
    sent `written` is the profile's key."""

    kind: Kind
    written: str
    shown: str
    places: int


class Hidden(msgspec.Struct, frozen=True):
    """`result` is what the report tells, without the names too."""

    report: Report
    result: Result
    stand_ins: tuple[StandIn, ...]
    names: tuple[Name, ...]

    def renaming(self) -> Callable[[str], str]:
        """Of texts from elsewhere, as the report has them."""
        return _Replaced(self.names)


def hide(report: Report, result: Result, kinds: Collection[Kind]) -> Hidden:
    """`result` is that of the report."""
    spec = _document(report.reproduce.spec_text)
    names = [one for one in names_told(result, spec, texts_of(report)) if one.kind in kinds]
    spec, sent = _without_prompts(spec) if "prompts" in kinds else (spec, ())
    replaced = _Replaced(_with_cut(names, result.name))
    short = msgspec.structs.replace(report, result_json="", reproduce=_without_spec(report))
    told, facts, profile = with_texts(short, replaced), with_texts(result, replaced), with_texts(spec, replaced)
    stand_ins = (*replaced.stand_ins(), *sent)
    hidden = tuple(kind for kind in KINDS if any(one.kind == kind for one in stand_ins))
    notes = (_sentence(hidden),) if hidden else ()
    facts = msgspec.structs.replace(facts, notes=(*notes, *facts.notes))
    spec_text = report.reproduce.spec_text if not hidden else _spec_text(report.reproduce.spec_text, profile)
    told = msgspec.structs.replace(
        told,
        notes=(*notes, *told.notes),
        hidden=hidden,
        reproduce=msgspec.structs.replace(told.reproduce, spec_text=spec_text),
        result_json=_as_json(facts) if report.result_json and hidden else report.result_json,
    )
    return Hidden(told, facts, stand_ins, replaced.names)


def sent_in(spec_text: str) -> tuple[str, ...]:
    """Keys of a profile that hold what was sent, or was to be answered: the only prompts that a report has."""
    return tuple(one.written for one in _without_prompts(_document(spec_text))[1])


def _sentence(hidden: Sequence[Kind]) -> str:
    return f"Hidden in this report, and in what it carries: {'; '.join(_WORDS[one] for one in hidden)}."


class _Replaced:
    """Changes texts, and counts what it changed. A name is found whatever the case and whatever stands between its
    parts, as `llama-3-1-8b` in the id of a run."""

    def __init__(self, names: Iterable[Name]) -> None:
        self.names = tuple(names)
        self._counts: Counter[Name] = Counter()
        spellings = [(word, name) for name in self.names for word in name.spellings]
        self._alone = {word.casefold(): name for word, name in spellings if not _is_telling(word)}
        telling = sorted((one for one in spellings if _is_telling(one[0])), key=lambda one: -len(one[0]))
        self._order = [name for _, name in telling]
        within = "|".join(f"({_pattern(word)})" for word, _ in telling)
        self._pattern = re.compile(f"{_BEFORE}(?:{within}){_AFTER}", re.IGNORECASE) if telling else None

    def __call__(self, text: str) -> str:
        alone = self._alone.get(text.casefold())
        if alone is not None:
            self._counts[alone] += 1
            return alone.shown
        return text if self._pattern is None else self._pattern.sub(self._shown, text)

    def stand_ins(self) -> tuple[StandIn, ...]:
        return tuple(
            StandIn(one.kind, one.spellings[0], one.shown, self._counts[one]) for one in self.names if self._counts[one]
        )

    def _shown(self, match: re.Match[str]) -> str:
        name = self._order[(match.lastindex or 1) - 1]
        self._counts[name] += 1
        return name.shown


def _with_cut(names: list[Name], title: str) -> list[Name]:
    """A run's id has its profile's name, and may have the half of a name that is in it."""
    word, shown = word_of_id(title), word_of_id(_Replaced(names)(title))
    if len(word) < LONGEST_WORD or word == shown:
        return names
    kind = next(one.kind for one in names if _Replaced([one])(title) != title)
    return [*names, Name(kind, (word,), shown)]


def _is_telling(word: str) -> bool:
    """Whether it is the name wherever it stands: not a number, a letter or a word of every report."""
    is_word = sum(one.isalnum() for one in word) > 1 and any(one.isalpha() for one in word)
    return (is_word or _is_address(word)) and word.casefold() not in _EVERYDAY


def _is_address(word: str) -> bool:
    return word.count(".") == 3 or word.count(":") > 1


def _pattern(word: str) -> str:
    if _is_address(word) and not any(one.isalpha() for one in word):
        return re.escape(word)
    return _BETWEEN.join(re.escape(part) for part in re.split(r"[\W_]+", word) if part)


def _without_prompts(spec: Any) -> tuple[Any, tuple[StandIn, ...]]:
    found = []
    for path in _SENT:
        if value_at(spec, path) not in (REMOVED, None, [], {}, "", HIDDEN):
            spec = with_value(spec, path, HIDDEN)
            found.append(StandIn("prompts", ".".join(path), HIDDEN, 1))
    return spec, tuple(found)


def _without_spec(report: Report) -> Any:
    return msgspec.structs.replace(report.reproduce, spec_text="")


def _document(text: str) -> Any:
    """None where it cannot be read: written by hand, or of a newer version."""
    try:
        return read_document(text.encode(), "spec.yaml").value
    except ProfileError:
        return None


def _spec_text(text: str, document: Any) -> str:
    """Written anew: a comment may hold a name in any words."""
    if not text:
        return text
    return document_text(document) if isinstance(document, dict) else _UNREADABLE


def _as_json(result: Result) -> str:
    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
