"""A plan file: one question with every fact that went into it, and its answer, as YAML that can be diffed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from app.errors import UsageError
from app.records.plan import Plan
from app.records.plan_question import PlanQuestion
from app.storage.plan_facts import impossible_fact

MOST_BYTES = 8 * 1024**2
"""A plan over the whole catalogue takes 0.7 MiB, and the requests of a trace at most 1.6 MiB more."""
MAX_EVENTS = 500_000
"""Limit for the scalars and brackets of the YAML: a plan over the whole catalogue has 55,000, read in 0.6 s."""
VERSION = 1
_MARK = b"sizewise_plan:"


class PlanFile(msgspec.Struct, frozen=True):
    """Version 1 is the first. Additions keep the number."""

    sizewise_plan: Literal[1]
    tool: str
    plan: Plan
    question: PlanQuestion


def is_plan_file(path: Path) -> bool:
    """Whether it begins as one does."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MARK)) == _MARK
    except OSError:
        return False


def read_plan(path: Path) -> PlanFile:
    """Raises UsageError where it is not a whole plan file of this version."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} is larger than any plan ({MOST_BYTES >> 20} MiB)")
        text = path.read_bytes()
        for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError("it has aliases, by which a small file can grow without bound")
            if count > MAX_EVENTS:
                raise yaml.YAMLError("it holds more values than any plan")
        written = yaml.load(text, Loader=yaml.CSafeLoader)
        _refuse_newer(path, written)
        file = msgspec.convert(written, PlanFile)
        if (wrong := impossible_fact(file.question)) is not None:
            raise ValueError(wrong)
        return file
    except (OSError, RecursionError, ValueError, yaml.YAMLError, msgspec.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        hint = "Plan files are written by `sizewise plan RUN --out plan.yaml`."
        raise UsageError(f"{path} is not a plan file that can be read: {reason}", hint=hint) from error


def _refuse_newer(path: Path, written: object) -> None:
    version = written.get("sizewise_plan") if isinstance(written, dict) else None
    if isinstance(version, int) and version > VERSION:
        what = f"{path} is a plan file of version {version}, and this Sizewise reads version {VERSION}"
        raise UsageError(what, hint="Update Sizewise, or plan again from the runs.")


def plan_text(file: PlanFile) -> str:
    """The same for the same plan, to the byte, also when it was read from such a text."""
    as_read = msgspec.convert(msgspec.to_builtins(file), PlanFile)  # a whole number where a float is due: 8.0, not 8
    return yaml.dump(
        msgspec.to_builtins(as_read),
        Dumper=_Plain,
        sort_keys=False,
        allow_unicode=True,
        width=120,
        default_flow_style=None,
    )


def write_plan(path: Path, file: PlanFile) -> None:
    """Whole or not at all: an older file stays until the new one is on disk."""
    text = plan_text(file).encode()
    part = path.parent / f".{path.name}.part"
    try:
        with part.open("wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where it could not be made, it may not be removed either
            part.unlink()
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


class _Plain(yaml.CSafeDumper):
    """Without anchors for what stands twice."""

    def ignore_aliases(self, *_: object) -> bool:
        return True
