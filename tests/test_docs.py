"""Names in README and docs exist, their links are valid, and the stated defaults match the code."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from pydantic import TypeAdapter

from app.errors import ExitCode
from app.planning.fleets import plan_fleets
from app.planning.sizing.instances import build_demand
from app.profiles.bundled import bundled_profiles
from app.profiles.fields import FieldSpec, iter_fields, profile_fields
from app.profiles.loading import load_profile
from app.profiles.plan import AlternativesSettings, EngineSettings, PlanKeys, PrecisionSettings, ShapeSettings
from app.profiles.profile import PROFILES
from app.records.checks import CheckId
from app.records.metrics import METRICS
from app.records.offers import PlanLimits
from docs.build import GENERATORS, nav_pages
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.command_line import iter_commands, parse
from tests.fakes.offers import catalog_of, offer, planning_inputs
from tests.fakes.pages import (
    DOCS,
    EXAMPLES,
    PAGES,
    ROOT,
    anchors_of,
    blocks_of,
    links_of,
    name_of,
    without_comments,
)

PRIVATE = ("python -m ", "tests.", "loadgen.", "uvx ", "--network host")
"""Lines that name these are of other programs, with options of their own."""
INSTALLERS = ("apt-get", "build/packaging/sizewise/sizewise", "cp", "docker", "pip", "pipx", "uv", "uvx")
REFERENCE = DOCS / "reference"
FOREIGN = {
    "message_stop", "overloaded_error", "sample_rate_hz", "ignore_eos",  # of APIs
    "wait_time",  # of Locust
    "mooncake_trace", "trace_synthetic", "text_input",  # of traces
}  # fmt: skip
SUFFIXES = ("csv", "jsonl", "json", "yaml", "parquet", "arrow", "npz")
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)


@cache
def _fields(protocol: str) -> dict[str, FieldSpec]:
    return {
        ".".join(part for part in path if part != "*"): field for path, field in iter_fields(profile_fields(protocol))
    }


@cache
def _keys() -> frozenset[str]:
    return frozenset(key for protocol in PROFILES for key in _fields(protocol))


@EACH_PAGE
def test_options_and_keys_on_page_exist(page: Path) -> None:
    lines = [line for line in page.read_text("utf-8").splitlines() if not any(word in line for word in PRIVATE)]
    options = {name for line in lines for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", line)}
    of_studies = {"--trace", "--draws", "--seeds", "--state"}
    of_commands = {option for command in iter_commands() for parameter in command.params for option in parameter.opts}
    assert options - of_commands - of_studies - {"--help", "--version"} == set()
    keys = _keys()
    named = {key for line in lines for key in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)\b[^`/]*`", line)}
    of_profiles = {
        key for key in named if key.split(".")[0] in {other_key.split(".")[0] for other_key in keys} - {"sizewise"}
    }
    assert {key for key in of_profiles - keys if not key.endswith(SUFFIXES)} == set()


@pytest.mark.parametrize(("page", "protocol", "least"), [("local-models.md", "local", 11), ("telemetry.md", "http", 2)])
def test_defaults_in_tables_match_code(page: str, protocol: str, least: int) -> None:
    fields, compared = _fields(protocol), 0
    for line in (REFERENCE / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:3]]
        if len(cells) < 2 or not re.fullmatch(r"`[^`]+`(, `[^`]+`)*", cells[1]):
            continue
        for key, default in zip(re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([^`]+)`", cells[1]), strict=False):
            field = next(
                (fields[candidate] for candidate in (key, f"target.{key}", f"telemetry.{key}") if candidate in fields),
                None,
            )
            if field is None or field.default is None:
                continue
            compared += 1
            expected = field.default[0] if isinstance(field.default, list) else field.default
            assert yaml.safe_load(default) == expected, (key, default, field.default)
    assert compared >= least


def _example_of_plan() -> dict[str, Any]:
    (block,) = (candidate for candidate in blocks_of(REFERENCE / "plans.md") if candidate.text.startswith("plan:"))
    plan: dict[str, Any] = yaml.safe_load(block.text)["plan"]
    return plan


def test_plan_example_has_one_spare_for_failures_and_one_for_updates() -> None:
    """`redundancy: n+1` and `max_unavailable: 1`, as the comments beside them state."""
    keys: TypeAdapter[PlanLimits] = TypeAdapter(PlanKeys)
    limits = keys.validate_python(_example_of_plan())
    assert (limits.redundancy, limits.max_unavailable) == (1, 1)
    assert build_demand(planning_inputs().traffic, msgspec.structs.replace(limits, zones=1)).spares == 2


def test_max_accelerators_limits_each_instance() -> None:
    """The limit is per instance, as the page states; a fleet may have more accelerators in total."""
    wide = offer("wide", accelerator_count=8.0)
    narrow = offer("narrow", accelerator_count=4.0)
    limits = PlanLimits(max_accelerators=float(_example_of_plan()["max_accelerators"]))
    plan = plan_fleets(planning_inputs(catalog=catalog_of(wide, narrow), limits=limits))
    rejected = {fleet.instance_type: fleet.rejected_by for fleet in plan.offers}
    assert rejected == {"wide": "accelerators", "narrow": None}
    assert plan.recommendation is not None
    assert (plan.recommendation.fleet.instances or 0) * 4 > 4


@EACH_PAGE
def test_links_on_page_are_valid(page: Path) -> None:
    """The build of the site checks the links of docs too, but neither those of README nor those out of docs."""
    broken = []
    for link in links_of(page):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


_CODE_NAME = re.compile(r"`((?:app|docs|loadgen|profiles|reports|tests)/[\w./-]*)(?::([\w.]+))?`")
"""Path in the repository, with a colon and a name if the page means something in that file."""
_DOTTED_NAME = re.compile(r"`((?:app|loadgen|reports)(?:\.\w+)+)`")
"""Module, package, or something that a module defines."""


@cache
def _names_in(path: Path) -> frozenset[str]:
    """Names that a module defines, and those of the members of its classes, such as `Pacer.start`."""

    def iter_names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for statement in body:
            match statement:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield f"{prefix}{name}"
                case ast.ClassDef(name=name):
                    yield f"{prefix}{name}"
                    yield from iter_names(statement.body, f"{prefix}{name}.")
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    yield f"{prefix}{name}"

    return frozenset(iter_names(ast.parse(path.read_text("utf-8")).body, ""))


@EACH_PAGE
def test_files_and_functions_on_page_exist(page: Path) -> None:
    named = _CODE_NAME.findall(page.read_text("utf-8"))
    assert [path for path, _ in named if not (ROOT / path).exists()] == []
    missing = [f"{path}:{name}" for path, name in named if name and name not in _names_in(ROOT / path)]
    missing += [name for name in _DOTTED_NAME.findall(page.read_text("utf-8")) if not _is_in_code(name)]
    assert missing == []


def _is_in_code(dotted_name: str) -> bool:
    path, parent = ROOT / dotted_name.replace(".", "/"), ROOT / dotted_name.rpartition(".")[0].replace(".", "/")
    module = parent.with_suffix(".py")
    return (
        path.is_dir()
        or path.with_suffix(".py").exists()
        or (module.exists() and dotted_name.rpartition(".")[2] in _names_in(module))
    )


def test_architecture_page_names_functions_of_code() -> None:
    """So that the test above has something to check: a step in another notation would not be found."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    steps = re.findall(r"^\d+\. ", text, re.MULTILINE)
    assert len([name for _, name in _CODE_NAME.findall(text) if name]) >= len(steps) >= 30


def test_navigation_lists_every_page_once() -> None:
    listed = [path for _, _, path in nav_pages()]
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES[1:])


def test_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_every_generated_part_is_on_one_page() -> None:
    marks = [mark for page in PAGES for mark in re.findall(r"<!-- generate: (\w+) -->$", page.read_text("utf-8"), re.M)]
    assert sorted(marks) == sorted(GENERATORS)


def _first_cells(page: str) -> list[str]:
    lines = (REFERENCE / page).read_text("utf-8").splitlines()
    return [line.split("|")[1].strip() for line in lines if line.startswith("|")]


def test_every_validity_check_is_described_once() -> None:
    described = [cell.strip("`") for cell in _first_cells("checks.md") if cell.startswith("`")]
    assert sorted(described) == sorted(get_args(CheckId))


def test_every_exit_code_is_described() -> None:
    codes = {int(code) for cell in _first_cells("exit-codes.md") for code in re.findall(r"\d+", cell)}
    assert codes == {code.value for code in ExitCode}


def test_every_documented_metric_exists() -> None:
    cells = [cell for cell in _first_cells("metrics.md") if cell.startswith("`") and "_ns" not in cell]
    named = {name for cell in cells for name in re.findall(r"`([a-z_0-9]+)`", cell)}
    columns = {"error", "target", "name", "worker", "chunk_tokens", "max_output_tokens", "class", "images"}
    columns |= {name for name in REQUEST_SCHEMA.names if name.startswith(("tokens_", "server_", "connection_"))}
    columns |= {"session", "turn", "token_source", "dns", "connect", "tls", "send", "timeout", "truncated"}
    assert named - columns - set(METRICS) == set()


def test_every_name_in_reference_and_explanation_exists() -> None:
    """Names of keys, metrics, columns and fields of the result."""
    folders = ("app/records", "app/profiles", "app/telemetry")
    sources = [*(path for folder in folders for path in (ROOT / folder).rglob("*.py")), ROOT / "loadgen/records.py"]
    text = "\n".join(path.read_text("utf-8") for path in (*sources, DOCS / "result.schema.json"))
    known_names = set(re.findall(r"\w+_\w+", text)) | FOREIGN
    pages = [*REFERENCE.glob("*.md"), *(DOCS / "explanation").glob("*.md")]
    spans = [span for page in pages for span in re.findall(r"`([a-z][\w.]*)`", page.read_text("utf-8"))]
    names = [span.split(".") for span in spans if span.rpartition(".")[2] not in SUFFIXES]
    named = {part for parts in names for part in parts if re.fullmatch(r"\w+_\w*[^\W_]", part)}
    assert len(named) > 200
    assert named - known_names == set()


def test_every_environment_variable_is_documented() -> None:
    sources = [path.read_text("utf-8") for folder in ("app", "loadgen") for path in (ROOT / folder).rglob("*.py")]
    read = {name for text in sources for name in re.findall(r"\bSIZEWISE_[A-Z_]+\b", text)}
    described = set(re.findall(r"`(SIZEWISE_[A-Z_]+)`", (REFERENCE / "environment.md").read_text("utf-8")))
    assert described == read


def test_every_language_model_key_is_documented() -> None:
    text = (DOCS / "how-to" / "llm-from-shape.md").read_text("utf-8")
    described = set(re.findall(r"`([a-z_]+)`", text.partition("## Describe more")[2].partition("## How far")[0]))
    described |= set(yaml.safe_load((EXAMPLES / "llm-8b.yaml").read_text("utf-8"))["language_model"])
    shapes = (ShapeSettings, PrecisionSettings, EngineSettings, AlternativesSettings)
    keys = {field.alias or name for shape in shapes for name, field in shape.model_fields.items()}
    assert described - {"language_model", "precision", "engine", "alternatives"} == keys


def test_every_preset_except_starters_is_documented() -> None:
    described = {cell.strip("`") for cell in _first_cells("presets.md") if cell.startswith("`")}
    assert described == set(bundled_profiles()) - {"http", "quickstart"}


@EACH_PAGE
def test_code_blocks_on_page_are_valid(page: Path) -> None:
    """The command line takes each command, YAML and Python parse, and a copy of an example is that example."""
    for block in blocks_of(page):
        if block.language == "sh":
            for command in block.commands:
                _check_command(command)
        elif block.language == "yaml":
            assert isinstance(yaml.safe_load(block.text), dict)
        elif block.language == "python":
            compile(block.text, name_of(page), "exec")
        if example := block.orders.get("same-as"):
            shipped = without_comments((EXAMPLES / example).read_text("utf-8"))
            assert without_comments(block.text) == shipped, example
        if test := block.orders.get("elsewhere"):
            assert (ROOT / test).is_file(), test


def _check_command(command: str) -> None:
    words = shlex.split(command.partition(" > ")[0].removesuffix(" &"))
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert set(words[1:]) <= targets, command
    elif words[0] == "sizewise":
        parse(words[1:])
    else:
        assert words[0] in ("python3", "kubectl", *INSTALLERS), command
        if words[0] == "uvx" or words[:2] == ["docker", "run"]:
            parse(words[words.index("sizewise") + 1 :])


def test_documented_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)`", page.read_text("utf-8"))}
    assert named <= targets


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_example_profiles_load(path: Path) -> None:
    if "sizewise" in yaml.safe_load(path.read_text("utf-8")):
        load_profile(path, [])
