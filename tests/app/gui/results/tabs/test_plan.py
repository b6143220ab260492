from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import yaml
from pytestqt.qtbot import QtBot

from app.gui.navigation import Navigation
from app.gui.plan.sources import find_plannable_runs
from app.gui.results.page import ResultsPage
from app.gui.results.state import DisplayedRun
from app.records.result import ShapePlan
from app.records.traffic import TokenLengths
from app.storage.run_directory import RunWriter
from tests.fakes import decoders
from tests.fakes.language_model_runs import language_model_run
from tests.fakes.local_runs import SPEC
from tests.fakes.whole_plan import whole_plan


def test_plan_tab_of_a_language_model_opens_a_serving_profile_and_the_shape_plan(
    page: ResultsPage,
    open_run: Callable[[Path], DisplayedRun],
    navigation: Navigation,
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    decoders.contiguous(tmp_path / "model")
    result = language_model_run().result
    assert result.local is not None
    variants = tuple(
        msgspec.structs.replace(variant, model_file=str(tmp_path / "model")) for variant in result.local.variants
    )
    plan = whole_plan()
    traffic = msgspec.structs.replace(plan.traffic, tokens=(TokenLengths(1.0, 900.0, 120.0),))
    plan = msgspec.structs.replace(plan, traffic=traffic)
    folder = tmp_path / "home" / "runs" / "llm"
    with RunWriter(folder) as writer:
        writer.write_spec(SPEC)
        writer.write_result(
            msgspec.structs.replace(
                result,
                local=msgspec.structs.replace(result.local, variants=variants),
                shape_plan=ShapePlan("Llama 3.1 8B", plan),
            )
        )
    open_run(folder)
    content = page.content()
    content.header.buttons[2].click()
    tab = content.plan_tab
    assert content.tabs.currentWidget() is tab, "the plan button shows the possible plans"
    assert "without a server" in tab.description_label.text()
    assert tab.heightForWidth(800) > 0
    assert content.overview.heightForWidth(800) == -1, "the page is not as tall as a tab that is not shown"
    assert find_plannable_runs() == (), "the Plan page does not offer it either"
    assert not tab.table.isVisibleTo(tab)
    shape_tab = content.shape_plan_tab
    content.tabs.setCurrentWidget(shape_tab)
    assert "Nothing that this run measured is part of it" in shape_tab.statement_label.text()
    assert shape_tab.heading.text() == "Llama 3.1 8B"

    with qtbot.waitSignal(navigation.open_profile_requested) as profile_request:
        tab.serving_button.click()
    assert profile_request.args is not None
    assert yaml.safe_load(Path(profile_request.args[0]).read_text("utf-8"))["target"]["serve"]["model"] == str(
        tmp_path / "model"
    )
    with qtbot.waitSignal(navigation.plan_inputs_requested) as plan_request:
        shape_tab.open_button.click()
    assert plan_request.args is not None
    assert plan_request.args[0].overrides[1] == "traffic.tokens={input: 900, output: 120}"
