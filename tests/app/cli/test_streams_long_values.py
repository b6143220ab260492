"""A value of 100,000 characters in an option, a profile, a data set, a file or a response: it is shortened wherever it
is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from app.cli.main import build_command_line, main
from app.cli.tables import TableFormat, format_table
from app.errors import ExitCode
from app.profiles.fields import iter_fields, profile_fields
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from reports.sections.section import Column
from reports.shortening import MAX_LINE_CHARS
from tests.fakes.stored_runs import reseal_run, stored_run

_LENGTH = 100_000
_VALUES = {"letters": "x" * _LENGTH, "words": "word " * (_LENGTH // 5), "lines": "a\n" * (_LENGTH // 2)}
_MAX_LINES, _MAX_CHARS = 200, 40_000
"""A report of a small run has about 80 lines, and a message at most two times 50."""
_MEASURING = {"quickstart", "doctor", "calibrate", "selftest", "gui", "serve", "worker"}
"""Commands that do their work without an argument."""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _assert_short(capsys: pytest.CaptureFixture[str], what: object) -> None:
    output, errors = capsys.readouterr()
    lines = [*output.splitlines(), *errors.splitlines()]
    assert max(map(len, lines), default=0) <= MAX_LINE_CHARS + len("error: "), what
    assert len(lines) <= _MAX_LINES, what
    assert len(output) + len(errors) <= _MAX_CHARS, what


def _iter_commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _iter_commands(command, (*path, name))
        else:
            yield (*path, name), command


def _list_argument_lists(path: tuple[str, ...], command: click.Command, value: str) -> Iterator[list[str]]:
    """The command with the value as each of its arguments, and in each option that takes a value."""
    argument_count = sum(isinstance(parameter, click.Argument) for parameter in command.params)
    if argument_count:
        yield [*path, *[value] * argument_count]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            yield [*path, *["missing"] * argument_count, parameter.opts[0], value]


def _is_accepted(command: click.Command, arguments: list[str]) -> bool:
    try:
        command.make_context("command", [*arguments])
    except Exception:
        return False
    return True


_COMMANDS = {" ".join(path): (path, command) for path, command in _iter_commands(build_command_line())}


@pytest.mark.parametrize("kind", _VALUES)
@pytest.mark.parametrize("name", _COMMANDS)
def test_long_argument_or_option_value_is_shortened_in_messages(
    name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, command = _COMMANDS[name]
    for arguments in _list_argument_lists(path, command, _VALUES[kind]):
        if path[0] in _MEASURING and _is_accepted(command, arguments[len(path) :]):
            continue  # it would do its work
        assert main(arguments) != ExitCode.BUG
        _assert_short(capsys, arguments[len(path) : -1])


def _put(tree: Any, path: tuple[str, ...], value: object) -> None:
    """Set the value at a path of keys in a tree. A `*` is the first item of a list or, at the end, of a list or mapping
    that has only the value."""
    for key, next_key in pairwise(path):
        if key == "*":
            tree.extend([] if tree else [{}])
            tree = tree[0]
            continue
        if not isinstance(tree.get(key), dict | list):
            tree[key] = [] if next_key == "*" else {}
        tree = tree[key]
    if path[-1] != "*":
        tree[path[-1]] = value
    elif isinstance(tree, list):
        tree[:] = [value]
    else:
        tree["key"] = value


def _profile(protocol: str = "http", **sections: Any) -> dict[str, Any]:
    targets = {"http": {"url": "http://127.0.0.1:9/"}, "openai-chat": {"url": "http://127.0.0.1:9/v1", "model": "m"}}
    target = {"protocol": protocol, **targets.get(protocol, {"model": "digits"})}
    stages = [] if protocol == "local" else [{"rate": "5/s", "duration": "1s"}]
    return {
        "sizewise": 1,
        "name": "long",
        "target": target,
        **({"load": {"stages": stages}} if stages else {}),
    } | sections


@pytest.mark.parametrize("kind", ["letters", "words"])
@pytest.mark.parametrize("protocol", ["http", "openai-chat", "local"])
def test_long_profile_value_is_shortened_in_messages(
    protocol: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in dict.fromkeys(path for path, _ in iter_fields(profile_fields(protocol))):
        profile = _profile(protocol)
        _put(profile, path, _VALUES[kind])
        Path("profile.yaml").write_text(json.dumps(profile))
        assert main(["profiles", "check", "profile.yaml"]) != ExitCode.BUG
        _assert_short(capsys, path)


@pytest.mark.parametrize("kind", ["letters", "words"])
@pytest.mark.parametrize(
    "text",
    [
        "sizewise: 1\n{}: 3\nname: [\n",
        "sizewise: 1\n'{}\n",
        "sizewise: 1\nname: !{} x\n",
        "sizewise: 1\nname: *{}\n",
        "sizewise: 1\n? [{}]\n: 3\n",
        "{}",
    ],
)
def test_long_invalid_profile_is_a_usage_error_with_a_short_message(
    text: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(text.format(_VALUES[kind]))
    assert main(["profiles", "check", str(path)]) == ExitCode.USAGE
    _assert_short(capsys, text)


@pytest.mark.parametrize("kind", _VALUES)
@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("header.csv", "{value},b\n1,2\n"),
        ("cell.csv", "a,b\n{value},2\n"),
        ("cells.csv", "a\n{value},3\n"),
        ("key.jsonl", "{{{quoted}: 1}}\n"),
        ("row.jsonl", "{value}\n"),
        ("open.jsonl", '{{"prompt": {quoted}\n'),
        ("rows.json", "[{{{quoted}: {quoted}}}]"),
        ("text.json", "{value}"),
        ("text.txt", "{value}"),
    ],
)
def test_long_dataset_value_is_shortened_in_messages(
    name: str,
    template: str,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = _VALUES[kind]
    Path(name).write_text(template.format(value=value, quoted=json.dumps(value)))
    for protocol, workload in (
        ("http", {"dataset": name}),
        ("http", {"dataset": name, "path": f"/{{{{{value}}}}}"}),
        ("openai-chat", {"dataset": name}),
        ("openai-chat", {"dataset": {"path": name, "prompt": value}}),
    ):
        Path("profile.yaml").write_text(json.dumps(_profile(protocol, workload=workload)))
        assert main(["profiles", "check", "profile.yaml"]) != ExitCode.BUG
        _assert_short(capsys, workload)


@pytest.mark.process
@pytest.mark.parametrize("kind", ["letters", "words"])
def test_long_tokenizer_value_is_a_usage_error_with_a_short_message(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = _VALUES[kind]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": value, "model": {"type": value}}))
    workload = {"prompts": {"input_tokens": 8, "output_tokens": 4}, "tokenizer": "tokenizer.json"}
    path = tmp_path / "profile.yaml"
    path.write_text(json.dumps(_profile("openai-chat", workload=workload)))
    assert main(["profiles", "check", str(path)]) == ExitCode.USAGE
    _assert_short(capsys, kind)


_READERS = (
    ("plan",), ("plan", "--slo", "p95 < 5ms"), ("runs", "import"), ("offers", "check"), ("offers", "import"),
    ("models", "inspect"), ("report",), ("explain",), ("compare", "missing"), ("simulate",),
)  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize("kind", ["letters", "words"])
@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("object.json", "{{{quoted}: {quoted}}}"),
        ("text.json", "{value}"),
        ("schema.json", '{{"schema": {quoted}}}'),
        ("vllm.json", '{{"model_id": {quoted}, "backend": {quoted}, "request_throughput": {quoted}, "completed": 10}}'),
        ("header.csv", "{value}\n1\n"),
        ("offers.csv", "provider,instance_type,region,accelerator,count,on_demand_usd_per_hour,as_of\n"
         "{value},{value},{value},{value},{value},{value},{value}\n"),
    ],
)  # fmt: skip
def test_long_value_of_an_input_file_is_shortened_in_messages(
    name: str,
    template: str,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path(name).write_text(template.format(value=_VALUES[kind], quoted=json.dumps(_VALUES[kind])))
    for command in _READERS:
        assert main([*command, name]) != ExitCode.BUG
        _assert_short(capsys, command)


@pytest.fixture(scope="module", params=["letters", "words"])
def long_runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of two runs in which every name, hint, URL and machine is a long value."""
    home, value = tmp_path_factory.mktemp("home"), _VALUES[request.param]
    for name in ("1-run", "2-run"):
        run = stored_run(home / "runs" / name)
        result = json.loads((run.directory / "result.json").read_text())
        result["environment"] |= dict.fromkeys(("cpu_model", "cpu_governor", "os"), value)
        result["target"]["urls"] = [value]
        for stage in result["stages"]:
            stage["name"] = value
            stage["checks"] = [check | {"hint": value, "name": value} for check in stage["checks"]]
        result["name"] = value
        (run.directory / "result.json").write_text(json.dumps(result))
        reseal_run(run.directory)
    return home


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "list"], ["runs", "list", "--output", "md"], ["runs", "show", "1-run"], ["runs", "trend"],
        ["report", "1-run", "--format", "text"], ["compare", "1-run", "2-run"], ["explain", "1-run"],
        ["compare", "1-run", "2-run", "--format", "markdown"], ["plan", "1-run"], ["simulate", "1-run"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_long_value_of_a_stored_run_is_shortened_in_messages(
    arguments: list[str], long_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(long_runs))
    assert main(arguments) != ExitCode.BUG
    _assert_short(capsys, arguments)


@pytest.mark.parametrize(
    "url", ["http://{}", "http://host/ {}", "http://u:{}@host", "https://h:{}", "grpc://{}", "unix:{}", "ftp://{}"]
)
def test_long_url_is_a_usage_error_with_a_short_message(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", url.format(_VALUES["letters"]), "--requests", "3"]) == ExitCode.USAGE
    _assert_short(capsys, url)


def test_error_json_of_long_values_is_short_and_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", _VALUES["lines"], "--requests", _VALUES["words"], "--error-json"]) == ExitCode.USAGE
    failure = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert len(failure["message"]) < 2 * MAX_LINE_CHARS
    assert f"({_LENGTH:,} characters)" in failure["message"]


def test_long_value_of_a_printed_profile_is_not_shortened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(json.dumps(_profile(workload={"body": {"text": _VALUES["letters"]}})))
    assert main(["profiles", "show", str(path)]) == ExitCode.OK
    assert _VALUES["letters"] in capsys.readouterr().out


@pytest.mark.parametrize("kind", _VALUES)
def test_long_cell_is_complete_in_csv_and_shortened_in_tables(kind: str) -> None:
    columns, value = [Column[str]("name", "name", str)], _VALUES[kind]
    assert value in format_table(columns, [value], "csv")
    formats: tuple[TableFormat, ...] = ("table", "md")
    for table_format in formats:
        assert max(map(len, format_table(columns, [value], table_format).splitlines())) <= MAX_LINE_CHARS


@pytest.mark.process
@pytest.mark.parametrize("protocol", ["http", "openai-chat"])
@pytest.mark.parametrize(
    "reply",
    [
        {"status": 500, "body": json.dumps({"error": {"message": "word " * 10_000, "type": "x" * 50_000}}).encode()},
        {"status": 401, "headers": (("Server", "x" * 20_000), ("WWW-Authenticate", "x " * 10_000))},
        {"status": 302, "headers": (("Location", f"http://127.0.0.1/{'x' * 20_000}"),)},
        {"status": 200, "body": json.dumps({"error": {"message": "word " * 10_000}}).encode()},
        {"status": 200, "headers": (("Content-Type", "x" * 20_000),), "body": b"x" * 50_000},
    ],
    ids=["error", "headers", "redirect", "message", "content type"],
)
def test_long_response_value_is_shortened_in_messages(
    reply: dict[str, Any], protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile.yaml"
    with ScriptedServer(Script(reply=Reply(**reply))) as server:
        target = {"protocol": protocol, "url": server.url, **({} if protocol == "http" else {"model": "m"})}
        workload = {} if protocol == "http" else {"prompts": {"input_tokens": 8, "output_tokens": 4}}
        path.write_text(json.dumps(_profile(protocol, target=target, **({"workload": workload} if workload else {}))))
        assert main(["profiles", "try", str(path)]) in (ExitCode.OK, ExitCode.UNAVAILABLE)
    _assert_short(capsys, protocol)
