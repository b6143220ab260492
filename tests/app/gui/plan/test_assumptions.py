from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.analysis.language_models import load_language_models
from app.gui.plan.assumptions import ModelForm, describe_kind
from app.records.planning_inputs import AssumedModel
from app.wiring.assumed_models import load_assumed_model

pytestmark = pytest.mark.ui


@pytest.fixture
def form(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelForm:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    form = ModelForm()
    qtbot.addWidget(form)
    form.show()
    return form


def plan(form: ModelForm, qtbot: QtBot) -> AssumedModel:
    """Click the button, and return the model of the file that is planned."""
    with qtbot.waitSignal(form.request_ready) as request:
        qtbot.mouseClick(form.plan_button, Qt.MouseButton.LeftButton)
    assert request.args is not None
    (source,) = request.args[0].sources
    return load_assumed_model(Path(source))


@pytest.mark.parametrize("key", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-20b"])
def test_published_model_is_planned_with_its_whole_shape(form: ModelForm, qtbot: QtBot, key: str) -> None:
    form.known_models.setCurrentIndex(form.known_models.findData(key))
    listed = load_language_models()[key]
    model = plan(form, qtbot)
    assert model.model == listed.shape
    assert listed.names[0].endswith(model.name)


def test_edited_shape_values_do_not_change_other_values(form: ModelForm, qtbot: QtBot) -> None:
    assert form.known_models.currentData() == "llama-3.1-8b"
    form.shape_fields["layers"].setValue(30)
    form.shape_fields["parameters"].setValue(7.5)
    shape, known = plan(form, qtbot).model, load_language_models()["llama-3.1-8b"].shape
    assert (shape.layers, shape.parameters) == (30, 7.5e9)
    assert (shape.hidden, shape.context_tokens) == (known.hidden, known.context_tokens)


def test_selected_engine_is_planned(form: ModelForm, qtbot: QtBot) -> None:
    assert plan(form, qtbot).engine.name is None
    form.engine.show_value("sglang")
    assert plan(form, qtbot).engine.name == "sglang"


def test_experts_and_attention_of_the_chosen_model_are_described(form: ModelForm) -> None:
    assert not form.kind.isVisible()
    form.known_models.setCurrentIndex(form.known_models.findData("deepseek-v3"))
    assert form.kind.isVisible()
    assert form.known_models.count() == len(load_language_models())
    models = load_language_models()
    for key, parts in (
        ("deepseek-v3", ("8 of 256", "37.6 billion", "576")),
        ("gpt-oss-20b", ("4 of 32", "12 layers", "128 tokens")),
        ("qwen3-next-80b-a3b", ("10 of 512", "36 layers")),
    ):
        assert all(part in describe_kind(models[key].shape) for part in parts)
    assert describe_kind(models["llama-3.1-8b"].shape) == ""
