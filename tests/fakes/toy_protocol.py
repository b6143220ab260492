"""A protocol that is one row and one module, and what is derived from it: `python -m tests.fakes.toy_protocol`.

A process of its own adds the row and the module before anything else is imported, as if both were part of the
product, and prints what commands, window, templates and documentation make of them as JSON.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from app.records import protocols
from app.records.protocols import ModelList, TargetProtocol, UrlOption

TOY = TargetProtocol(
    id="toy",
    title="Toy questions",
    url_meaning="without the `/toy`",
    servers="Toy servers",
    profile="ToyProfile",
    profile_module="toy",
    target={"url": "http://127.0.0.1:7000", "model": "my-model"},
    workload={"question": "how"},
    objectives=("latency_ms.p95 < 70",),
    url_patterns=(r"(?P<base>.*)/toy/(?P<model>[^/]+)/answer",),
    model_list=ModelList("/toy/models"),
    ready_path="/toy/{model}/ready",
    url_option=UrlOption("toy", "URL of a toy server", ("--plaything",)),
    init_choice=(9, "a toy server"),
    definitions_remark="Toys are timed by their last word.",
)
_MODULE = "app.profiles.toy"


class _ToyFinder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        return importlib.util.spec_from_file_location(name, Path(__file__).with_name("toy_profile.py"))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_command(words: list[str], *answers: str) -> tuple[int, str]:
    """Run a command with answers to its questions. Return its exit code and what it prints."""
    from app.cli.main import main

    terminal = _Terminal()
    sys.stdin = _Terminal("".join(f"{answer}\n" for answer in answers))
    with redirect_stdout(terminal), redirect_stderr(terminal):
        code = main(words)
    return code, terminal.getvalue()


def describe_commands(folder: Path) -> dict[str, Any]:
    from app.cli.commands import build_group
    from app.cli.url import UrlOptions, load_url_profile
    from loadgen.reference.script import Reply, Script
    from loadgen.reference.scripted import ScriptedServer
    from tests.fakes.command_line import parse

    def load_target(*words: str) -> tuple[str, str | None]:
        values = parse(["run", *words])
        profile = load_url_profile(values["profile"], build_group(UrlOptions, values), []).profile
        return profile.target.protocol, getattr(profile.target, "model", None)

    list_of_models = Script(paths={"/toy/models": Reply(body=b'{"data": [{"id": "bear"}]}')})
    with ScriptedServer(list_of_models) as server:
        option = load_target("--toy", server.url)
    return {
        "help": run_command(["run", "--help"])[1],
        "synonym": run_command(["run", "--plaything", "http://127.0.0.1:1"])[1],
        "positional": load_target("http://127.0.0.1:1/toy/lion/answer"),
        "option": option,
        "keys": run_command(["profiles", "keys", "toy"]),
        "init": run_command(["init", str(folder / "toy.yaml")], "6", "http://127.0.0.1:1", "lion", "2", "5/s", "", ""),
        "written": (folder / "toy.yaml").read_text(),
    }


def describe_profiles() -> dict[str, Any]:
    from app.profiles.loading import load_profile_tree
    from app.profiles.pricing.catalog import load_catalog
    from app.profiles.templates import adapt_to_url, convert_profile, list_default_objectives
    from app.wiring.measured_server import describe_server
    from app.wiring.planned_work import estimate_work
    from app.wiring.target_check import check_target

    http = convert_profile({"sizewise": 1, "name": "a", "slo": list_default_objectives("http")}, "http")
    template = convert_profile({key: value for key, value in http.items() if key != "target"}, "toy")
    load_profile_tree(template, "toy")
    target = {"protocol": "http", "url": "http://127.0.0.1:1/toy/lion/answer"}
    scripted = load_profile_tree({**template, "target": {"protocol": "toy", "scripted": {"delay": "1ms"}}}, "toy")
    test = check_target(scripted)
    return {
        "template": template,
        "adapted": adapt_to_url({**http, "target": target}, http),
        "back": convert_profile(template, "openai-chat")["slo"],
        "ready_path": describe_server(load_profile_tree(template, "toy")).ready_path,
        "requests": estimate_work(scripted, load_catalog()).requests,
        "test": (test.protocol, test.model, test.problem, test.status),
    }


def describe_window(template: dict[str, Any]) -> dict[str, Any]:
    import shiboken6
    from PySide6.QtWidgets import QApplication

    from app.gui.forms.form import ProfileForm
    from app.gui.forms.steps import summarize_step
    from tests.fakes.window import theme_of

    application = QApplication([])
    theme = theme_of(application)
    form = ProfileForm()
    form.show_tree(template, "toy")
    box = form.find_part(("target", "protocol")).editor.box
    observations = {
        "choices": [(box.itemText(index), box.itemData(index)) for index in range(box.count())],
        "has_question": form.find_part(("workload", "question")) is not None,
        "summary": summarize_step("target", template),
    }
    shiboken6.delete(form)
    shiboken6.delete(theme)
    shiboken6.delete(application)
    return observations


def main() -> None:
    protocols.PROTOCOLS = (*protocols.PROTOCOLS, TOY)
    sys.meta_path.insert(0, _ToyFinder())
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from docs import build

    with tempfile.TemporaryDirectory() as folder:
        observations = describe_commands(Path(folder))
    observations |= describe_profiles()
    observations |= describe_window(observations["template"])
    observations["docs"] = {
        function.__name__: function()
        for function in (build.cli, build.profile_keys, build.target_protocols, build.workload_keys, build.probes)
    }
    print(json.dumps(observations))


if __name__ == "__main__":
    main()
