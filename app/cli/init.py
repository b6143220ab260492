"""Ask a few questions on the terminal, and write a short profile with comments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.commands import PATH, Command
from app.cli.url import write_new_profile
from app.errors import SizewiseError, UsageError
from app.records.protocols import PROTOCOLS, TargetProtocol, get_protocol

if TYPE_CHECKING:
    from app.profiles.url_profile import UrlLoad, UrlTarget

_DEFAULT_FILE = "profile.yaml"
_LOADS = {
    "search": "the highest rate within an SLO",
    "rate": "a fixed request rate",
    "concurrency": "a fixed number of concurrent requests",
}
_COMMENTS = {
    "target": "What is tested.",
    "workload": "What each request contains.",
    "load": "How the requests are sent: stages with a rate or concurrency, a sweep, or a search for the highest rate.",
    "slo": "What every stage must meet; a missed objective ends a run with exit code 10.",
}


def _write_profile(file: Path) -> int:
    from app.profiles.editing import format_profile
    from app.profiles.loading import load_profile_tree

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        hint = "Without a terminal, use `sizewise run URL … --save FILE.yaml`."
        raise UsageError("init asks questions and needs a terminal", hint=hint)
    if not file.parent.is_dir():
        raise UsageError(f"the folder {file.parent} does not exist", hint="Create it, or name another file.")
    if file.exists():
        raise UsageError(f"{file} already exists", hint="Name another file: `sizewise init FILE.yaml`.")
    tree = _prompt_for_profile()
    load_profile_tree(tree, str(file))  # raises an error before anything is written
    write_new_profile(file, add_comments(format_profile(tree), str(file)))
    print(f"{file} was written. Run it with `sizewise run {file}`.")
    return 0


def add_comments(text: str, path: str) -> str:
    """Return the text of a profile with a comment before each section."""
    lines = [
        f"# Run this profile with `sizewise run {path}`; `sizewise profiles keys` lists all keys.",
        *(
            line if (comment := _COMMENTS.get(line.partition(":")[0])) is None else f"# {comment}\n{line}"
            for line in text.splitlines()
        ),
    ]
    return "\n".join(lines) + "\n"


def _prompt_for_profile() -> dict[str, Any]:
    from app.profiles.url_profile import build_url_tree

    choices = sorted((row.init_choice, row.id) for row in PROTOCOLS if row.init_choice is not None)
    kind = _choose("What do you want to test?", {row_id: text for (_, text), row_id in choices})
    protocol = get_protocol(kind)
    if protocol.is_local:
        return _build_model_tree(_prompt("Path of the .onnx file"))
    target = _prompt_for_target(protocol)
    return build_url_tree(target, _prompt_for_load())


def _prompt_for_target(protocol: TargetProtocol) -> UrlTarget:
    import msgspec

    from app.profiles.endpoint import parse_http_url
    from app.profiles.url_profile import UrlTarget

    if not protocol.has_model:
        url = _prompt("URL", "http://127.0.0.1:8000/", parse_http_url)
        return UrlTarget(url=url, data=_prompt("Body of each request, as JSON or @FILE (empty: GET)", "") or None)
    question = "Base URL" if protocol.generates_text else "URL"
    target = UrlTarget(url=_prompt(question, protocol.target["url"], parse_http_url), protocol=protocol.id)
    if protocol.generates_text:
        prompts = protocol.workload["prompts"]
        target = msgspec.structs.replace(
            target,
            input_tokens=_prompt("Tokens per prompt", str(prompts["input_tokens"])),
            output_tokens=_prompt("Tokens per response", str(prompts["output_tokens"])),
        )
    return msgspec.structs.replace(target, model=_prompt("Name of the model", _find_model(target)))


def _find_model(target: UrlTarget) -> str | None:
    """Return the name of the only model that the server serves; `None` if it does not respond with
    a single name, so that the user types the name."""
    from app.wiring.served_models import find_served_model

    try:
        return find_served_model(target)
    except SizewiseError:
        return None


def _prompt_for_load() -> UrlLoad:
    from app.analysis.objectives import parse_objective
    from app.profiles.units import parse_duration_s, parse_rate_per_s
    from app.profiles.url_profile import UrlLoad

    load = _choose("What load do you want to send?", _LOADS)
    concurrency = 0
    if load == "concurrency":
        concurrency = click.prompt("Concurrent requests", 16, type=click.IntRange(1), err=True)
    return UrlLoad(
        rates=(_prompt("Rate", "100/s", parse_rate_per_s),) if load == "rate" else (),
        concurrency=(concurrency,) if concurrency else (),
        duration=_prompt("Duration of each load", "30s", parse_duration_s),
        slo=(_prompt("SLO", "p95 < 100ms", parse_objective), "error_rate < 1%"),
    )


def _build_model_tree(model: str) -> dict[str, Any]:
    from app.profiles.url_profile import build_profile_name

    return {
        "sizewise": 1,
        "name": build_profile_name(Path(model).stem, "model"),
        "target": {"model": model, "batch": [1, 8, 32]},
        "load": {"scenarios": ["single-stream", "offline"], "max_duration": "10s"},
    }


def _choose(question: str, choices: dict[str, str]) -> str:
    print(question, file=sys.stderr)
    for number, description in enumerate(choices.values(), 1):
        print(f"  {number}  {description}", file=sys.stderr)
    number = click.prompt("Number", 1, type=click.IntRange(1, len(choices)), err=True)
    return [*choices][int(number) - 1]


def _prompt(question: str, default: str | None = None, check: Callable[[str], object] = str) -> str:
    """Ask until `check` accepts the response, which otherwise raises BadValueError or UsageError."""

    def read(text: str) -> str:
        from app.profiles.problems import BadValueError

        try:
            check(text)
        except (BadValueError, UsageError) as error:
            raise click.UsageError(f"{error}. {error.hint or ''}".strip()) from error
        return text

    return str(click.prompt(question, default, show_default=bool(default), err=True, value_proc=read))


COMMAND = Command(
    "init",
    _write_profile,
    [
        click.Argument(
            ["file"], type=PATH, default=_DEFAULT_FILE, help=f"file of the new profile (default: {_DEFAULT_FILE})"
        ),
    ],
    documentation=__doc__,
    examples=("sizewise init", "sizewise init chat.yaml"),
)
