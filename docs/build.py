"""The documentation site, made of this folder and of the code: `python -m docs.build`, which is `make docs`.

Pages are Markdown. A line that ends with `<!-- generate: NAME -->` is replaced by what the function of that name
returns, so that commands, profile keys, metrics, checks, exit codes and the Python API are described by the code. The
result needs no network: it opens from the disk, with search.
"""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

import click
import yaml

from app.cli.commands import DEFAULT_SECTION, GLOBAL_SECTION, Command
from app.records.engine_presets import ENGINE_PRESETS, FlagDefault

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
OUT = ROOT / "build" / "docs"
_NOT_PAGES = shutil.ignore_patterns("*.py", "__pycache__", "mkdocs.yml", "packaging")
_MARK = re.compile(r"^.*<!-- generate: (\w+) -->$", re.MULTILINE)
_FOR_TESTS = re.compile(r"^<!-- run: .*? -->\n", re.MULTILINE | re.DOTALL)
_SHIM = "https://unpkg.com/iframe-worker/shim"
_METRIC_TRAITS = {
    "stream": "Streamed responses only.",
    "tokens": "APIs that generate tokens only.",
    "local": "Also, or only, for local models.",
    "device": "Read from the machine in every run.",
    "beside": "Read beside the requests.",
}
_GENERAL = ("sizewise", "name", "description")
_DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "neither": ""}


def cli() -> str:
    """Every command with its arguments and options, as `--help` prints them."""
    from app.cli.main import PROGRAM, build_command_line

    with build_command_line().make_context(PROGRAM, [], resilient_parsing=True) as context:
        return "\n".join(_group(context))


def _group(context: click.Context) -> Iterator[str]:
    group = context.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        with command.make_context(name, [], parent=context, resilient_parsing=True) as below:
            if isinstance(command, click.Group):
                yield f"## `{below.command_path}`\n"
                yield from _group(below)
            else:
                yield from _leaf(below)


def _leaf(context: click.Context) -> Iterator[str]:
    command = context.command
    assert isinstance(command, Command)
    yield f"{'##' if context.command_path.count(' ') == 1 else '###'} `{context.command_path}`\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    rows_by_section: dict[str, list[str]] = {}
    for parameter in command.params:
        section = getattr(parameter, "section", "")
        record = parameter.get_help_record(context)
        if record is not None and section != GLOBAL_SECTION:
            name, text = record
            rows_by_section.setdefault(section, []).append(f"| `{_cell(name)}` | {_cell(_capitalized(text))} |")
    for section, rows in rows_by_section.items():
        if section not in ("", DEFAULT_SECTION):
            yield f"{section}:\n"
        yield "\n".join(["| argument | meaning |", "|---|---|", *rows, ""])
    for heading, notes in command.notes.items():
        yield f"{heading}:\n"
        yield "\n".join(["| name | meaning |", "|---|---|", *(f"| `{a}` | {_cell(b)} |" for a, b in notes), ""])
    if command.examples:
        yield "```bash\n" + "\n".join(command.examples) + "\n```\n"


def profile_keys() -> str:
    """Return the keys of each protocol; those that several protocols share are listed once, with the protocols."""
    from app.profiles.fields import iter_fields, profile_fields
    from app.profiles.profile import PROFILES

    rows: dict[str, dict[str, list[str]]] = {}
    for protocol in PROFILES:
        for path, field in iter_fields(profile_fields(protocol)):
            if path[-1] != "*":
                rows.setdefault(".".join(path), {}).setdefault(_key_row(field), []).append(protocol)
    sections: dict[str, list[str]] = {}
    for key, variants in rows.items():
        for row, protocols in variants.items():
            name = key.partition(".")[0]
            section = "General" if name in _GENERAL else f"`{name}`"
            line = row.replace(" |", f" {_protocols(protocols, tuple(PROFILES))} |", 1)
            sections.setdefault(section, []).append(f"| `{_cell(key)}` | {line}")
    lines = []
    for section, keys in sections.items():
        lines += [f"## {section}\n", "| key | meaning | unit, bounds, default |", "|---|---|---|", *keys, ""]
    return "\n".join(lines)


def _protocols(names: list[str], everyone: tuple[str, ...]) -> str:
    """Which protocols have a key, in as few words as possible."""
    others = [name for name in everyone if name not in (*names, "local")]
    if len(names) == len(everyone):
        return ""
    if names == ["local"]:
        return "*Local models.*"
    if "local" not in names and len(others) < 3:
        return f"*Endpoints but {', '.join(others)}.*" if others else "*Endpoints.*"
    return f"*{', '.join(names)}.*"


def _key_row(field: Any) -> str:
    item = field.item.choices if field.item else ()
    bounds = field.bounds or ", ".join(field.choices or item)
    limits = [part for part in (field.unit, bounds) if part]
    limits += ["required"] if field.is_required else []
    limits += [f"default `{_yaml(field.default)}`"] if field.default not in (None, [], {}) else []
    return f"{_cell(field.help)} | {_cell('; '.join(limits))} |"


def _yaml(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
        .removesuffix("\n")
        .removesuffix("\n...")
    )


def metrics() -> str:
    """Return the catalogue of metrics."""
    from app.records.metrics import METRICS

    lines = ["| metric | unit | meaning | aggregates |", "|---|---|---|---|"]
    for metric in METRICS.values():
        notes = " ".join(_METRIC_TRAITS[trait] for trait in metric.traits if trait in _METRIC_TRAITS)
        meaning = "; ".join(part for part in (_capitalized(metric.description), _DIRECTIONS[metric.better]) if part)
        aggregates = ", ".join(metric.aggregates) or "one value"
        lines.append(f"| `{metric.name}` | {metric.unit} | {_cell(meaning)}. {notes} | {aggregates} |")
    return "\n".join(lines)


def checks() -> str:
    """Return the names of the checks that reports show, by id."""
    from app.records.checks import Check, CheckId

    lines = ["| id | name in reports |", "|---|---|"]
    lines += [f"| `{check}` | {Check(check, None, None, None, 'VALID').name} |" for check in get_args(CheckId)]
    return "\n".join(lines)


def exit_codes() -> str:
    """Return the codes in the order of precedence, which decides when several apply."""
    from app.errors import ExitCode, get_precedence

    codes = [*sorted(set(ExitCode) - {ExitCode.OK}, key=get_precedence), ExitCode.OK]
    lines = ["| code | name |", "|---|---|"]
    lines += [f"| {code.value} | `{code.name}` |" for code in codes]
    return "\n".join(lines)


def target_protocols() -> str:
    """Return the protocols of endpoints with what the URL of a target is, and the keys that only they have."""
    from app.profiles.endpoint import EndpointSettings
    from app.profiles.fields import profile_fields
    from app.records.protocols import PROTOCOLS

    rows = {}
    for protocol in PROTOCOLS:
        target = profile_fields(protocol.id).find_field("target")
        assert target is not None
        common_keys = {field.alias or name for name, field in EndpointSettings.model_fields.items()}
        common_keys |= {"protocol", "serve", "scripted"}
        own_keys = [field.key for field in target.fields if field.key not in common_keys]
        servers = f" ({protocol.servers})" if protocol.servers else ""
        if not protocol.is_local:
            rows[protocol.id] = f"{protocol.url_meaning} | {_code(own_keys)}", servers
    lines = ["| protocol | `url` | also |", "|---|---|---|"]
    for (text, servers), names in _group_names(rows).items():
        lines.append(f"| {_code(names, ' ')}{servers} | {text} |")
    return "\n".join(lines)


def workload_keys() -> str:
    """Return the protocols of endpoints with the keys of their workloads and the defaults."""
    from app.profiles.fields import profile_fields
    from app.records.protocols import PROTOCOLS

    rows = {}
    for protocol in PROTOCOLS:
        workload = profile_fields(protocol.id).find_field("workload")
        assert workload is not None
        sources = [key for keys in workload.one_of.values() for key in keys]
        others = [
            f"`{field.key}`{_format_default(field.default)}"
            for field in workload.fields
            if field.key not in (*sources, "popularity")
        ]
        parts = [f"one of {_code(sources)}"] if sources else []
        if not protocol.is_local:
            rows[protocol.id] = "; ".join([*parts, ", ".join(others)] if others else parts)
    lines = ["| protocol | keys |", "|---|---|"]
    lines += [f"| {_code(names)} | {text} |" for text, names in _group_names(rows).items()]
    return "\n".join(lines)


def probes() -> str:
    """Return the paths that report whether a server is ready and whether it runs, by protocol."""
    from app.records.protocols import PROTOCOLS

    rows = {}
    for protocol in PROTOCOLS:
        ready, live = protocol.ready_path.format(model="MODEL", version=""), protocol.live_path
        ready_text = f"`{ready}`" if ready else "–"
        if not ready and protocol.model_list is not None and protocol.model_list.method == "GET":
            path = urlsplit(protocol.target["url"]).path
            ready_text = (
                f"`{protocol.model_list.build_url(path)}` below the measured URL; none if the profile has an API key, "
                "because a probe cannot send one"
            )
        if not protocol.is_local:
            rows[protocol.id] = f"{ready_text} | {f'`{live}`' if live else '–'}"
    lines = ["| protocol | readiness | liveness |", "|---|---|---|"]
    lines += [f"| {_code(names)} | {text} |" for text, names in _group_names(rows).items()]
    return "\n".join(lines)


def _group_names(rows: dict[str, Any]) -> dict[Any, list[str]]:
    """Return the names of the rows with the same contents, by the contents."""
    return {text: [name for name, other in rows.items() if other == text] for text in rows.values()}


def _code(names: Iterable[str], separator: str = ", ") -> str:
    return separator.join(f"`{name}`" for name in names)


def _format_default(value: object) -> str:
    """Return the default of a key in parentheses; empty if the key has none."""
    if value in (None, "", [], {}):
        return ""
    return f" ({str(value).lower() if isinstance(value, bool) else value})"


def server_counters() -> str:
    """Return the inference servers and what of their metrics pages a report shows for each stage."""
    from app.records.llm_servers import LLM_SERVERS
    from app.records.server_counters import LATENCY_NAMES

    columns = ["requests", "tokens", "prefix cache", "preemptions", *LATENCY_NAMES.values()]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for server in LLM_SERVERS:
        is_exposed = [
            bool(server.requests),
            bool(server.input_tokens and server.output_tokens),
            bool(server.cache_lookups),
            bool(server.preemptions),
            *(bool(server.latencies.get(kind)) for kind in LATENCY_NAMES),
        ]
        if any(is_exposed):
            lines.append(f"| {server.title} | {' | '.join('✓' if cell else '' for cell in is_exposed)} |")
    return "\n".join(lines)


def price_layouts() -> str:
    """Return the layouts of published price catalogs."""
    from app.records.price_layouts import LAYOUTS

    lines = ["| layout | what it is | where it is published |", "|---|---|---|"]
    lines += [f"| `{layout.id}` | {layout.description} | `{layout.address}` |" for layout in LAYOUTS]
    return "\n".join(lines)


def python_api() -> str:
    """Return the public names of the module `sizewise`, with their docstrings."""
    import sizewise

    lines = [f"{inspect.getdoc(sizewise)}\n"]
    for name in sizewise.__all__:
        thing = getattr(sizewise, name)
        if inspect.isclass(thing):
            lines += [f"## `sizewise.{name}`\n", f"{inspect.getdoc(thing)}\n"]
            lines += [f"### `{name}.{member}`\n\n{text}\n" for member, text in _members(thing)]
        else:
            lines += [
                f"## `sizewise.{name}{inspect.signature(thing)}`\n".replace("'", ""),
                f"{inspect.getdoc(thing)}\n",
            ]
    return "\n".join(lines)


def _members(thing: type) -> Iterator[tuple[str, str]]:
    for name, member in vars(thing).items():
        if name.startswith("_"):
            continue
        text = inspect.getdoc(member) or inspect.getdoc(getattr(member, "func", None)) or ""
        returns = getattr(getattr(member, "func", getattr(member, "fget", None)), "__annotations__", {}).get(
            "return", ""
        )
        yield name, f"{text} ".lstrip() + (f"Type: `{returns}`." if returns else "")


def presets() -> str:
    """Return the bundled profiles."""
    from app.profiles.bundled import bundled_profiles

    lines = ["| name | description |", "|---|---|"]
    for name, path in bundled_profiles().items():
        document = yaml.safe_load(path.read_text("utf-8"))
        lines.append(f"| `{name}` | {_cell(_capitalized(document.get('description', '')))} |")
    return "\n".join(lines)


def decision_pages() -> dict[str, str]:
    """Return the path of each decision with its title."""
    found = {}
    for page in sorted((DOCS / "decisions").glob("0*.md")):
        title = page.read_text("utf-8").partition("\n")[0]
        found[f"decisions/{page.name}"] = re.sub(r"^# (\d+\.)?\s*", "", title)
    return found


def decisions() -> str:
    """Return a link to each decision."""
    return "\n".join(f"- [{title}]({Path(path).name})" for path, title in decision_pages().items())


def report_formats() -> str:
    """Return the formats of `sizewise report`."""
    from app.cli.report import FORMAT_IDS

    return ", ".join(f"`{name}`" for name in FORMAT_IDS) + "."


def known_models() -> str:
    """Return the language models that are known by name."""
    from app.cli.known_models import COLUMNS, list_known_models
    from app.cli.tables import format_table

    return format_table(COLUMNS, list_known_models(), "md")


def engine_presets() -> str:
    """Return the default flags of inference engines, and what a plan assumes of them."""
    keys = {"kv": "`precision.kv`", "block_tokens": "size of a block", None: ""}
    lines = ["| engine | flag | default | assumed by a plan |", "|---|---|---|---|"]
    for preset in ENGINE_PRESETS.values():
        title = f"{preset.title} {', '.join(preset.versions)}"
        for flag in preset.flags:
            cells = [title, f"`{flag.flag}`", "; ".join(map(_default, flag.defaults))]
            if flag.is_reserved:
                cells[2] = f"all but (GiB): {cells[2]}"
            lines.append(f"| {' | '.join([*cells, keys.get(flag.setting, f'`engine.{flag.setting}`')])} |")
            title = ""
    sources = [f"{preset.title}: {preset.source}" for preset in ENGINE_PRESETS.values()]
    return "\n".join([*lines, "", f"Sources: {'; '.join(sources)}."])


def _default(default: FlagDefault) -> str:
    value = default.value if isinstance(default.value, str) else f"{default.value:g}"
    memory = f" from {default.least_gib:g} GiB of memory" if default.least_gib else ""
    return f"{value}{memory}{f' since {default.since}' if default.since != '0' else ''}"


def hardware_catalogue() -> str:
    """Return the page beside the tables of accelerators and offers, which stands with them."""
    text = (ROOT / "profiles" / "hardware" / "README.md").read_text("utf-8").partition("\n")[2]
    return text.replace("](../../docs/", "](../").strip()


def changelog() -> str:
    """Return what changed, by version."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8").partition("\n")[2]
    return text.replace("](docs/", "](../").strip()


GENERATORS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        cli, profile_keys, metrics, checks, exit_codes, price_layouts, server_counters, target_protocols,
        workload_keys, probes, python_api, presets,
        report_formats, known_models, engine_presets, hardware_catalogue, changelog, decisions,
    )
}  # fmt: skip


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page_text(source: str) -> str:
    """Return a page as the generator of the site gets it."""
    text = _FOR_TESTS.sub("", source)
    return _MARK.sub(lambda found: GENERATORS[found[1]](), text)


def collect(pages: Path) -> None:
    """Copy this folder's pages and pictures, with what the code says of itself filled in."""
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(DOCS, pages, ignore=_NOT_PAGES)
    for page in pages.rglob("*.md"):
        page.write_text(page_text(page.read_text("utf-8")), "utf-8")


def build(out: Path = OUT) -> Path:
    """Build the site and return its folder. Raises CalledProcessError where a page, link or anchor is wrong."""
    out.mkdir(parents=True, exist_ok=True)
    pages, site = out / "pages", out / "site"
    collect(pages)
    (out / "mkdocs.yml").write_text(yaml.safe_dump(configuration(), sort_keys=False), "utf-8")
    shutil.rmtree(site, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"]
    subprocess.run([*command, "--config-file", str(out / "mkdocs.yml")], cwd=out, check=True)
    for page in site.rglob("*.html"):
        up = "../" * len(page.relative_to(site).parts[:-1])
        page.write_text(page.read_text("utf-8").replace(_SHIM, f"{up}assets/iframe-worker.js"), "utf-8")
    for page in pages.rglob("*.md"):
        shutil.copy(page, site / page.relative_to(pages))
    (site / "llms.txt").write_text(llms_text(pages), "utf-8")
    return site


def configuration() -> dict[str, Any]:
    """Of the generator of the site, with the decisions in its navigation."""
    document: dict[str, Any] = yaml.safe_load((DOCS / "mkdocs.yml").read_text("utf-8"))
    for entry in document["nav"]:
        if "Project" in entry:
            entry["Project"] += [{title: path} for path, title in decision_pages().items()]
    return document


def nav_pages(nav: Any = None, section: str = "") -> Iterator[tuple[str, str, str]]:
    """Section, title and path of each page in the order of the navigation."""
    for entry in configuration()["nav"] if nav is None else nav:
        ((title, target),) = entry.items()
        if isinstance(target, str):
            yield section or title, title, target
        else:
            yield from nav_pages(target, section or title)


def llms_text(pages: Path) -> str:
    """Return the index for language models (llmstxt.org): title, address and first sentence of each page."""
    lines = ["# Sizewise", "", f"> {_first_sentence((pages / 'index.md').read_text('utf-8'))}"]
    current = ""
    for section, title, path in nav_pages():
        if section != current:
            lines += ["", f"## {section}", ""]
            current = section
        lines.append(f"- [{title}]({path}): {_first_sentence((pages / path).read_text('utf-8'))}")
    return "\n".join(lines) + "\n"


def _first_sentence(text: str) -> str:
    plain = re.sub(r"<!--.*?-->|^```.*?^```|^\*\*[\w ]+\.\*\*", "", text, flags=re.DOTALL | re.MULTILINE)
    paragraphs = [" ".join(part.split()) for part in plain.split("\n\n")]
    first = next((part for part in paragraphs if re.match(r"[A-Z*`]|- ", part)), "").removeprefix("- ")
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", first).replace("**", "")
    return re.split(r"(?<=[.!?]) ", words)[0]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.update(value for name in ("id", "name") if (value := values.get(name)))
        if tag == "a" and (href := values.get("href")):
            self.links.append(href)
        loaded = values.get("src") or (
            values.get("href") if tag == "link" and values.get("rel") != "canonical" else None
        )
        if loaded:
            self.loads.append(loaded)


def broken_links(site: Path) -> list[str]:
    """Of the built pages: links and anchors that lead nowhere, and whatever a page would load from the network."""
    pages: dict[Path, _Page] = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = _Page()
        pages[path].feed(path.read_text("utf-8"))
    broken = []
    for path, page in pages.items():
        here = path.relative_to(site)
        broken += [f"{here} loads {url}" for url in page.loads if urlsplit(url).scheme in ("http", "https")]
        for link in {*page.links, *page.loads}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else set()
            if not target.exists() or (parts.fragment and target in pages and unquote(parts.fragment) not in anchors):
                broken.append(f"{here} links to {link}")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of the build (default: build/docs)")
    try:
        site = build(parser.parse_args().out)
    except subprocess.CalledProcessError:
        return 1
    broken = broken_links(site)
    print("\n".join(broken) if broken else f"Open {site / 'index.html'}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
