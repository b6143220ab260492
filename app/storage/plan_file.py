"""A plan file: one question with every fact that went into it, and its answer, as YAML that can be diffed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from app.errors import UsageError
from app.records.plan import Plan
from app.records.plan_question import PlanQuestion

MOST_BYTES = 32 * 1024**2
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
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.CSafeLoader)):
            raise yaml.YAMLError("it has aliases, by which a small file can grow without bound")
        return msgspec.convert(yaml.load(text, Loader=yaml.CSafeLoader), PlanFile)
    except (OSError, RecursionError, ValueError, yaml.YAMLError, msgspec.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        hint = "Plan files are written by `sizewise plan RUN --out plan.yaml`."
        raise UsageError(f"{path} is not a plan file that can be read: {reason}", hint=hint) from error


def plan_text(file: PlanFile) -> str:
    """The same for the same plan, to the byte."""
    return yaml.dump(
        msgspec.to_builtins(file),
        Dumper=_Plain,
        sort_keys=False,
        allow_unicode=True,
        width=120,
        default_flow_style=None,
    )


def write_plan(path: Path, file: PlanFile) -> None:
    """Whole or not at all: an older file stays until the new one is on disk."""
    text = plan_text(file).encode()
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


class _Plain(yaml.CSafeDumper):
    """Without anchors for what stands twice."""

    def ignore_aliases(self, *_: object) -> bool:
        return True
