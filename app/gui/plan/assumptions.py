"""Planning without a measurement, from a load curve that the user enters or from the architecture
of a language model."""

from __future__ import annotations

import msgspec
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFormLayout, QLineEdit, QTabWidget, QWidget

from app.analysis.language_models import ListedModel, load_language_models
from app.gui.plan.assumption_files import CurveAssumptions, ModelAssumptions, write_curve, write_model
from app.gui.plan.fields import ChoiceField, NumberField, add_field
from app.gui.widgets import button, hbox, label, vbox
from app.records.dtypes import WEIGHT_DTYPES
from app.records.engine_presets import ENGINE_PRESETS
from app.records.planning_inputs import LanguageModel

_DEFAULT_POINTS = ((10.0, 12.0), (50.0, 18.0), (80.0, 30.0), (95.0, 70.0))
_MAX_LATENCY_MS, _MAX_RATE_PER_S = 1e7, 1e6
_DEFAULT_MODEL = "llama-3.1-8b"
_ARCHITECTURE_KEYS = ("parameters", "layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary")


class Assumptions(QTabWidget):
    """Forms for assumptions. `request_ready` is emitted with a PlanRequest. All numbers in its
    sources are marked as not measured."""

    request_ready = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Plan from assumptions")
        self.curve, self.model = CurveForm(), ModelForm()
        self.addTab(self.curve, "Load &curve")
        self.addTab(self.model, "&Language model")
        for form in (self.curve, self.model):
            form.request_ready.connect(self.request_ready)
            form.failed.connect(self.failed)

    def load_gpus(self) -> None:
        """Load the GPUs into the form. This method is called when the form is shown for the first
        time, since loading the catalog takes a moment."""
        self.curve.load_gpus()


class CurveForm(QWidget):
    """Form for the latency of one replica at several request rates, and for the hardware of the
    replica."""

    request_ready = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.name = QLineEdit("my-model")
        self.gpu = ChoiceField()
        self.vcpus = NumberField(1, 10_000, 0, " vCPUs")
        self.vcpus.setValue(8)
        self.peak = _build_number_field(200.0, _MAX_RATE_PER_S, " req/s")
        self.limit = _build_number_field(100.0, _MAX_LATENCY_MS, " ms")
        self.point_fields = [
            (_build_number_field(rate, _MAX_RATE_PER_S, " req/s"), _build_number_field(latency, _MAX_LATENCY_MS, " ms"))
            for rate, latency in _DEFAULT_POINTS
        ]
        self.gpu.setMinimumContentsLength(16)
        form = QFormLayout()
        for title, field in (
            ("&Name", self.name),
            ("&GPU", self.gpu),
            ("vC&PUs", self.vcpus),
            ("Peak tra&ffic", self.peak),
            ("p95 &latency limit", self.limit),
        ):
            field.setAccessibleName(title.replace("&", ""))
            form.addRow(title, field)
        points_form = QFormLayout()
        points_form.addRow(label("Request rate", "muted"), label("p95 latency", "muted"))
        for index, (rate, latency) in enumerate(self.point_fields, 1):
            rate.setAccessibleName(f"Request rate of point {index}")
            latency.setAccessibleName(f"p95 latency of point {index}")
            points_form.addRow(rate, latency)
        columns = hbox((form, 1), (points_form, 1))
        self.plan_button = button("Plan from load curve", self._request_plan, primary=True)
        vbox(
            label("Enter the p95 latency of one replica at several request rates.", "muted", wrap=True),
            columns,
            (self.plan_button, 0, Qt.AlignmentFlag.AlignLeft),
            1,
            within=self,
            margins=None,
        )

    def load_gpus(self) -> None:
        from app.profiles.pricing.catalog import load_catalog

        if self.gpu.count():
            return
        self.gpu.addItem("None (CPU only)", "")
        for key, gpu in load_catalog().accelerators.items():
            if not key.startswith("cpu-"):
                self.gpu.addItem(gpu.name, key)
        self.gpu.show_value("l4")

    def _request_plan(self) -> None:
        gpu_key = str(self.gpu.currentData() or "")
        vcpus_setting = ("vcpus", f"{self.vcpus.value():g}")
        curve = CurveAssumptions(
            self.name.text().strip() or "my-model",
            tuple((rate.value(), latency.value()) for rate, latency in self.point_fields),
            "latency_ms.p95",
            (("accelerator", gpu_key), vcpus_setting) if gpu_key else (vcpus_setting,),
            self.peak.value(),
            self.limit.value(),
        )
        try:
            request = write_curve(curve)
        except OSError as error:
            self.failed.emit(error)
        else:
            self.request_ready.emit(request)


class ModelForm(QWidget):
    """Form for a model that has not been run. Its performance on each GPU is estimated from its
    architecture."""

    request_ready = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        models = sorted(load_language_models().values(), key=lambda model: model.names[0].lower())
        self.known_models = ChoiceField(tuple((model.key, model.names[0]) for model in models))
        self.known_models.show_value(_DEFAULT_MODEL)
        self.shape_fields: dict[str, NumberField] = {}
        self._shown_shape: dict[str, float] = {}
        self.kind = label("", "muted", wrap=True)
        titles = {
            "parameters": "Parameters (&billion)",
            "layers": "La&yers",
            "hidden": "&Hidden size",
            "heads": "Attention hea&ds",
            "kv_heads": "&KV heads",
            "head_dim": "Head size",
            "vocabulary": "&Vocabulary size",
        }
        left_form, right_form = QFormLayout(), QFormLayout()
        add_field(left_form, "&Model", self.known_models)
        for key in _ARCHITECTURE_KEYS:
            self.shape_fields[key] = NumberField(
                0.01 if key == "parameters" else 1, 1e7, 2 if key == "parameters" else 0
            )
            add_field(left_form, titles[key], self.shape_fields[key])
        self.precision = ChoiceField(tuple((dtype, dtype) for dtype in WEIGHT_DTYPES))
        engines = tuple((preset.name, preset.title) for preset in ENGINE_PRESETS.values())
        self.engine = ChoiceField((("", "General settings"), *engines))
        self.peak = _build_number_field(5.0, _MAX_RATE_PER_S, " req/s")
        self.input_tokens, self.output_tokens = (
            _build_number_field(900.0, 1e6, " tokens"),
            _build_number_field(150.0, 1e6, " tokens"),
        )
        self.ttft, self.tpot = (
            _build_number_field(1000.0, _MAX_LATENCY_MS, " ms"),
            _build_number_field(60.0, _MAX_LATENCY_MS, " ms"),
        )
        for title, field in (
            ("P&recision", self.precision),
            ("En&gine", self.engine),
            ("Peak tra&ffic", self.peak),
            ("Average &prompt length", self.input_tokens),
            ("&Average output length", self.output_tokens),
            ("p95 &TTFT limit", self.ttft),
            ("p95 TP&OT limit", self.tpot),
        ):
            add_field(right_form, title, field)
        columns = hbox((left_form, 1), (right_form, 1))
        self.plan_button = button("Plan for model", self._request_plan, primary=True)
        instructions = (
            "Choose a published model, or replace its values by those in your model's config.json. The plan is "
            "estimated from published measurements of tuned servers, with wide intervals."
        )
        vbox(
            label(instructions, "muted", wrap=True),
            columns,
            self.kind,
            (self.plan_button, 0, Qt.AlignmentFlag.AlignLeft),
            1,
            within=self,
            margins=None,
        )
        self.known_models.currentIndexChanged.connect(self._show_known_model)
        self._show_known_model(0)

    def _get_known_model(self) -> ListedModel:
        return load_language_models()[str(self.known_models.currentData())]

    def _show_known_model(self, _: int) -> None:
        known_model = self._get_known_model()
        model = known_model.shape
        self.precision.show_value(known_model.weights)
        for key in _ARCHITECTURE_KEYS:
            value = getattr(model, key)
            self.shape_fields[key].setValue(value / 1e9 if key == "parameters" else value)
        self._shown_shape = {key: field.value() for key, field in self.shape_fields.items()}
        text = describe_kind(model)
        self.kind.setText(text)
        self.kind.setVisible(bool(text))

    def _build_shape(self) -> dict[str, float]:
        """Return the shape of the chosen model, with the values that the user has replaced."""
        known_shape = msgspec.structs.asdict(self._get_known_model().shape)
        replaced = {
            key: field.value() * (1e9 if key == "parameters" else 1)
            for key, field in self.shape_fields.items()
            if field.value() != self._shown_shape[key]
        }
        return {key: value for key, value in known_shape.items() if value} | replaced

    def _request_plan(self) -> None:
        model = ModelAssumptions(
            self.known_models.currentText().rpartition("/")[2],
            self._build_shape(),
            str(self.precision.currentData()),
            str(self.engine.currentData()),
            self.input_tokens.value(),
            self.output_tokens.value(),
            self.peak.value(),
            self.ttft.value(),
            self.tpot.value(),
        )
        try:
            request = write_model(model)
        except OSError as error:
            self.failed.emit(error)
        else:
            self.request_ready.emit(request)


def describe_kind(model: LanguageModel) -> str:
    """Describe the experts and the attention of a model that is not dense with full attention in all layers; empty for
    other models."""
    parts = []
    if model.experts is not None:
        parts.append(
            f"Mixture of experts: {model.experts_per_token} of {model.experts} experts and "
            f"{model.parameters_per_token / 1e9:.3g} billion parameters are active per token."
        )
    if model.latent_dim is not None:
        parts.append(f"Latent attention with {model.latent_dim:,} cached values per token and layer.")
    if model.index_dim is not None:
        parts.append(f"Sparse attention with an indexer that caches {model.index_dim:,} values per token and layer.")
    if model.window_layers and model.window_tokens is not None:
        parts.append(f"{model.window_layers} layers attend to the last {model.window_tokens:,} tokens.")
    if model.linear_layers:
        parts.append(f"{model.linear_layers} layers have no growing KV cache.")
    return " ".join(parts)


def _build_number_field(value: float, maximum: float, suffix: str) -> NumberField:
    field = NumberField(0.001, maximum, 3, suffix)
    field.setValue(value)
    return field
