"""List published measurements of language models, which plans from a model's shape are based on, and add your own.

Your own measurements stay in Sizewise's home, and are never sent anywhere.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple, get_args

import click
import msgspec

from app.cli.commands import ACCELERATOR_SYNONYMS, Command, CommandGroup, CommandOption
from app.cli.options import OutputOptions, complete_runs, output_options, parse_output
from app.cli.streams import print_whole, warn
from app.errors import ExitCode, UsageError
from app.records.dtypes import KV_DTYPES, WEIGHT_DTYPES
from app.records.evidence import MLPERF_SOURCE, OWN_SOURCE, PUBLISHED_SOURCES, EngineName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.cli.options import OutputFormat
    from app.records.evidence import EvidenceSource
    from app.records.planning_inputs import OwnEvidence

_TABLE_ROWS = 50
"""Rows of a table for readers, unless the user sets a limit."""


class _Filters(NamedTuple):
    """Points that the list is limited to."""

    model: str | None
    accelerator: str | None
    engine: str | None
    source: str | None


class _Server(NamedTuple):
    """Server that was measured, as far as the user states it."""

    engine: EngineName
    precision: str
    model: str | None
    accelerator: str | None
    tensor_parallel: int | None
    expert_parallel: int
    engine_version: str | None
    kv_cache: str
    speculation: bool | None


def _list_evidence(filters: _Filters, limit: int | None, requested_output: OutputOptions) -> int:
    from app.cli.tables import format_section, print_json
    from app.reporting.evidence_rows import find_rows, find_sources, list_rows
    from reports.sections.evidence import EVIDENCE

    output = parse_output(requested_output)
    rows = find_rows(list_rows(_load_own_evidence()), **filters._asdict())
    shown = rows[: limit or (_TABLE_ROWS if output == "table" else len(rows))]
    sources = find_sources(shown)
    if output == "json":
        print_json({"sources": sources, "points": shown})
        return ExitCode.OK
    print_whole(format_section(EVIDENCE, shown, output))
    _print_attributions(sources, to_readers=output == "table")
    if len(rows) > len(shown):
        print(f"{len(shown):,} of {len(rows):,} points; add filters, or use --limit {len(rows)}", file=sys.stderr)
    return ExitCode.OK


def _load_own_evidence() -> list[OwnEvidence]:
    """Return the user's own evidence, after a warning about each file that cannot be read."""
    from app.storage.own_evidence import list_evidence

    own, errors = list_evidence()
    for error in errors:
        warn(f"{error}. {error.hint}")
    return own


def _print_attributions(sources: Sequence[EvidenceSource], *, to_readers: bool) -> None:
    """Print who measured what is shown, to standard error if standard output is a document."""
    if sources and to_readers:
        print()
    for source in sources:
        print(source.attribution, file=sys.stdout if to_readers else sys.stderr)


def _show_evidence(evidence_id: str, requested_output: OutputOptions) -> int:
    from app.cli.tables import print_json

    output = parse_output(requested_output)
    model = _find_model(evidence_id)
    if model is not None:
        return _show_model(model, output)
    document = _find_document(evidence_id)
    if output in ("csv", "md"):
        raise UsageError(
            f"--output {output} applies to the MLPerf results of a language model only",
            hint=f"Use `sizewise evidence list --output {output}` for points.",
        )
    if output == "json":
        print_json(document)
    else:
        for line in _format_lines(document):
            print(line)
    return ExitCode.OK


def _find_model(name: str) -> str | None:
    """Return the key of a language model by a name of it; None if it is no name of a known model."""
    from app.analysis.language_models import find_model_key
    from app.profiles.mlperf_results import LANGUAGE_MODELS
    from app.storage.own_evidence import list_evidence

    names = {*LANGUAGE_MODELS.values(), *(evidence.served.model for evidence in list_evidence()[0])}
    return LANGUAGE_MODELS.get(name) or find_model_key(name) or (name if name in names else None)


def _show_model(model: str, output: OutputFormat) -> int:
    """Print how many points a language model has, and its MLPerf results in a table of their own."""
    from app.analysis.language_models import load_language_models
    from app.cli.tables import format_section, print_json
    from app.reporting.evidence_rows import SOURCE_IDS, list_model_evidence
    from reports.sections.mlperf import MLPERF, describe_results

    evidence = list_model_evidence(model, tuple(own for own in _load_own_evidence() if own.served.model == model))
    listed = load_language_models().get(model)
    document: dict[str, object] = {
        "model": model,
        "names": [] if listed is None else listed.names,
        "points": {source: sum(row.source == source for row in evidence.rows) for source in SOURCE_IDS},
    }
    remarks = [describe_results(evidence.mlperf), MLPERF_SOURCE.attribution] if evidence.mlperf else []
    if output == "json":
        results = {"remarks": remarks, "results": evidence.mlperf} if evidence.mlperf else None
        print_json(document | {"mlperf": results})
        return ExitCode.OK
    if output != "table":
        print_whole(format_section(MLPERF, evidence.mlperf, output))
    else:
        for line in _format_lines(document):
            print(line)
        if evidence.rows:
            print(f"\nList the points with `sizewise evidence list --model {model}`.")
        if evidence.mlperf:
            print(f"\n{MLPERF.title}\n\n{format_section(MLPERF, evidence.mlperf, output)}\n")
    for remark in remarks:
        print(remark, file=sys.stdout if output == "table" else sys.stderr)
    return ExitCode.OK


def _find_document(evidence_id: str) -> dict[str, object]:
    """Return a source, a point or the user's own evidence as a document. Raises UsageError if there is none of this
    ID."""
    from app.analysis.language_models import load_language_models
    from app.analysis.published_points import load_published_points, load_recipe_flags
    from app.profiles.mlperf_results import count_results
    from app.profiles.problems import did_you_mean
    from app.reporting.evidence_rows import build_own_rows, build_published_row, find_source
    from app.storage.own_evidence import find_evidence

    source = find_source(evidence_id)
    points = load_published_points()
    if source is not None:
        count = sum(point.source == source.id for point in points)
        return _to_document(source) | ({"results": count_results()} if source == MLPERF_SOURCE else {"points": count})
    point = next((point for point in points if point.id == evidence_id), None)
    if point is not None:
        source = find_source(point.source)
        assert source is not None
        flags = load_recipe_flags().get(point.recipe or "")
        return _to_document(build_published_row(point)) | {"engine_flags": flags, "origin": _to_document(source)}
    own_id, dot, _ = evidence_id.partition(".")
    if not own_id.startswith(f"{OWN_SOURCE}-"):
        hint = did_you_mean(evidence_id, [*load_language_models(), *(point.id for point in points)])
        raise UsageError(
            f"there is no evidence {evidence_id!r}", hint=hint or "List all with `sizewise evidence list --output csv`."
        )
    evidence = find_evidence(own_id)
    if not dot:
        return _to_document(evidence)
    row = next((row for row in build_own_rows(evidence) if row.id == evidence_id), None)
    if row is None:
        raise UsageError(
            f"{own_id} has no point {evidence_id!r}", hint=f"See its points with `sizewise evidence show {own_id}`."
        )
    return _to_document(row)


def _to_document(record: msgspec.Struct) -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(record)
    return document


def _format_lines(document: dict[str, object], indent: str = "") -> list[str]:
    from app.cli.tables import format_cell

    width = max(map(len, document)) + 2
    lines = []
    for name, value in document.items():
        match value:
            case dict():
                lines += [f"{indent}{name}", *_format_lines(value, f"{indent}  ")]
            case list() | tuple():
                lines += [f"{indent}{name}"]
                for number, item in enumerate(value, 1):
                    text = (
                        ", ".join(f"{key} {format_cell(cell)}" for key, cell in item.items() if cell is not None)
                        if isinstance(item, dict)
                        else format_cell(item)
                    )
                    lines.append(f"{indent}  {number}  {text}")
            case str() | int() | float() | None:
                lines.append(f"{indent}{name:<{width}}{format_cell(value)}")
    return lines


def _add_evidence(source: str, server: _Server, input_tokens: float | None, output_tokens: float | None) -> int:
    from app.wiring.dependencies import get_utc_now
    from app.wiring.evidence import EvidenceRequest, add_evidence
    from reports.sections.evidence import UNKNOWN_VERSION

    request = EvidenceRequest(
        source=source,
        engine=server.engine,
        precision=server.precision,
        model=server.model,
        accelerator=server.accelerator,
        tensor_parallel=server.tensor_parallel,
        expert_parallel=server.expert_parallel,
        version=server.engine_version or UNKNOWN_VERSION,
        kv_dtype=server.kv_cache,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        speculation=server.speculation,
    )
    added = add_evidence(request, get_utc_now().date())
    for note in added.evidence.notes:
        print(f"note: {note}", file=sys.stderr)
    print(added.summary)
    return ExitCode.OK


def _remove_evidence(evidence_id: str) -> int:
    from app.wiring.evidence import remove_own_evidence

    print(remove_own_evidence(evidence_id))
    return ExitCode.OK


_POSITIVE_COUNT = click.IntRange(min=1)
_POSITIVE_NUMBER = click.FloatRange(min=0, min_open=True)
_ID_HELP = (
    "ID of a point or of your own measurements, as listed, a language model, such as llama-3.1-8b, or a publisher, "
    "such as inferencex"
)

COMMAND = CommandGroup(
    "evidence",
    [
        Command(
            "list",
            _list_evidence,
            [
                CommandOption(["--model"], metavar="NAME", help="only this language model, such as llama-3.1-70b"),
                CommandOption(
                    ["--accelerator"],
                    metavar="KEY",
                    elsewhere=ACCELERATOR_SYNONYMS,
                    help="only this accelerator, such as h200-sxm-141gb; a short name such as h200 lists all variants",
                ),
                CommandOption(["--engine"], type=click.Choice(get_args(EngineName)), help="only this engine"),
                CommandOption(
                    ["--source"],
                    type=click.Choice((*(source.id for source in PUBLISHED_SOURCES), OWN_SOURCE)),
                    help="only points of this publisher, or your own",
                ),
                CommandOption(
                    ["--limit"],
                    type=_POSITIVE_COUNT,
                    metavar="N",
                    help=f"list at most N points (default: {_TABLE_ROWS} in a table, else all)",
                ),
                *output_options(),
            ],
            documentation="List measured points: your own first, then the published ones.",
            examples=(
                "sizewise evidence list --model llama-3.1-70b --accelerator h200",
                "sizewise evidence list --output csv",
            ),
        ),
        Command(
            "show",
            _show_evidence,
            [click.Argument(["evidence_id"], metavar="ID", help=_ID_HELP), *output_options()],
            documentation="Show a point, your own measurements of a server, a language model with its MLPerf results, "
            "or a publisher with its license.\n\n"
            "MLPerf results are in a table of their own, because they are not compared with points. --output csv and "
            "--output md print this table.",
            examples=("sizewise evidence show llama-3.1-8b", "sizewise evidence show inferencex"),
        ),
        Command(
            "add",
            _add_evidence,
            [
                click.Argument(
                    ["source"],
                    metavar="FILE",
                    shell_complete=complete_runs,
                    help="result file or folder of GuideLLM, vllm bench, AIPerf, genai-bench or inference-perf, a load "
                    "curve (CSV or YAML), or a run (directory, ID or its prefix, or 'last')",
                ),
                CommandOption(
                    ["--engine"],
                    type=click.Choice(get_args(EngineName)),
                    required=True,
                    help="engine that served the model",
                ),
                CommandOption(
                    ["--precision"],
                    type=click.Choice(WEIGHT_DTYPES),
                    required=True,
                    help="data type of the weights",
                ),
                CommandOption(
                    ["--model"],
                    metavar="NAME",
                    help="language model, such as llama-3.1-70b, or a YAML file with its shape; default: as in the "
                    "result",
                ),
                CommandOption(
                    ["--accelerator"],
                    metavar="KEY",
                    elsewhere=ACCELERATOR_SYNONYMS,
                    help="accelerator, such as h100-sxm5-80gb; default: as in the run",
                ),
                CommandOption(
                    ["--tensor-parallel"],
                    type=_POSITIVE_COUNT,
                    metavar="N",
                    elsewhere=("--tp", "--tp-size", "--tensor-parallel-size"),
                    help="accelerators of the replica; default: as in the run, else 1",
                ),
                CommandOption(
                    ["--expert-parallel"],
                    type=_POSITIVE_COUNT,
                    default=1,
                    metavar="N",
                    elsewhere=("--ep", "--ep-size"),
                    help="accelerators that experts are distributed over (default: 1)",
                ),
                CommandOption(["--engine-version"], metavar="TEXT", help="version of the engine, such as 0.11.0"),
                CommandOption(
                    ["--kv-cache"],
                    type=click.Choice(KV_DTYPES),
                    default="bf16",
                    help="data type of the KV cache (default: bf16)",
                ),
                CommandOption(
                    ["--input-tokens"],
                    type=_POSITIVE_NUMBER,
                    metavar="N",
                    help="mean input tokens of a request; default: as in the result",
                ),
                CommandOption(
                    ["--output-tokens"],
                    type=_POSITIVE_NUMBER,
                    metavar="N",
                    help="mean output tokens of a request; default: as in the result",
                ),
                CommandOption(
                    ["--speculation/--no-speculation"],
                    default=None,
                    help="whether the server decoded speculatively; default: not stated",
                ),
            ],
            documentation="Add the results of a tool, or a run, to your own evidence.\n\n"
            "The results are of one replica. They are stored in Sizewise's home, and are never sent anywhere.",
            examples=(
                "sizewise evidence add vllm.json --engine vllm --precision fp8 --accelerator h200 --tensor-parallel 2",
            ),
        ),
        Command(
            "remove",
            _remove_evidence,
            [click.Argument(["evidence_id"], metavar="ID", help="ID of your own measurements, such as own-1f0a9c2b")],
            documentation="Remove your own measurements.",
            examples=("sizewise evidence remove own-1f0a9c2b",),
        ),
    ],
    documentation=__doc__,
)
