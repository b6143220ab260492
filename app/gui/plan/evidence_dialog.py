"""Dialog that adds the user's own measurements of a language model, with what their result does not state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLineEdit, QWidget

from app.gui.background import submit
from app.gui.navigation import build_error_notice
from app.gui.plan.evidence_tables import PlannedServer
from app.gui.plan.fields import ChoiceField, CountField, NumberField, add_field
from app.gui.widgets import button, label, scroll_area, vbox
from app.records.dtypes import KV_DTYPES, WEIGHT_DTYPES
from app.records.engine_presets import ENGINE_PRESETS
from app.records.offers import Accelerator
from app.wiring.dependencies import get_utc_now
from app.wiring.evidence import AddedEvidence, EvidenceRequest, add_evidence
from reports.sections.evidence import UNKNOWN_VERSION

_AS_IN_RESULT = "As in the result"
_MAX_GPUS, _MAX_TOKENS = 1024, 10_000_000
_WIDTH_CHARACTERS, _HEIGHT_LINES = 62, 30


class EvidenceDialog(QDialog):
    """Form for the server that was measured, as options of `sizewise evidence add`. `added` is emitted with the
    AddedEvidence. An error is shown in the dialog, which then stays open."""

    added = Signal(object)

    def __init__(
        self, parent: QWidget, source: Path, server: PlannedServer, accelerators: Mapping[str, Accelerator]
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Add measurements")
        self.setAccessibleName("Add measurements")
        self._source = source
        self.model = ChoiceField((("", _AS_IN_RESULT), *(() if server.model is None else ((server.model,) * 2,))))
        self.accelerator = ChoiceField(
            (("", _AS_IN_RESULT), *((key, gpu.name) for key, gpu in sorted(accelerators.items())))
        )
        self.engine = ChoiceField(tuple((preset.name, preset.title) for preset in ENGINE_PRESETS.values()))
        self.precision = ChoiceField(tuple((dtype, dtype) for dtype in WEIGHT_DTYPES))
        self.kv_cache = ChoiceField(tuple((dtype, dtype) for dtype in KV_DTYPES))
        self.tensor_parallel, self.expert_parallel = CountField(0, _MAX_GPUS), CountField(1, _MAX_GPUS)
        self.version = QLineEdit()
        self.input_tokens, self.output_tokens = (NumberField(0, _MAX_TOKENS, 1, " tokens") for _ in range(2))
        self.speculation = ChoiceField(((None, "Not stated"), (True, "Yes"), (False, "No")))
        self.problem = label("", wrap=True)
        self.problem.setAccessibleName("Problem")
        self.problem.hide()
        self.add_button = button("&Add", self._add, primary=True)
        self._build_layout()
        self._show_server(server)

    def _build_layout(self) -> None:
        for optional in (self.tensor_parallel, self.input_tokens, self.output_tokens):
            optional.setSpecialValueText(_AS_IN_RESULT)
        self.version.setPlaceholderText("such as 0.19.0")
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        fields: tuple[tuple[str, QWidget], ...] = (
            ("&Model", self.model),
            ("A&ccelerator", self.accelerator),
            ("&GPUs per replica", self.tensor_parallel),
            ("E&xpert-parallel GPUs", self.expert_parallel),
            ("&Engine", self.engine),
            ("Engine &version", self.version),
            ("&Weights", self.precision),
            ("&KV cache", self.kv_cache),
            ("Mean &input length", self.input_tokens),
            ("Mean &output length", self.output_tokens),
            ("&Speculative decoding", self.speculation),
        )
        for title, field in fields:
            add_field(form, title, field)
        content = QWidget()
        instructions = "The result is of one replica. State what it does not say about its server."
        name = label(self._source.name, "heading", wrap=True)
        vbox(name, label(instructions, "muted", wrap=True), form, 1, within=content, margins=None)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        buttons.addButton(self.add_button, QDialogButtonBox.ButtonRole.ActionRole)
        buttons.rejected.connect(self.reject)
        self.add_button.setDefault(True)
        vbox((scroll_area(content), 1), self.problem, buttons, within=self, margins=None)
        metrics = self.fontMetrics()
        self.resize(_WIDTH_CHARACTERS * metrics.averageCharWidth(), _HEIGHT_LINES * metrics.lineSpacing())

    def _show_server(self, server: PlannedServer) -> None:
        self.engine.show_value(server.engine)
        self.precision.show_value(server.precision)
        self.kv_cache.show_value(server.kv_dtype)

    def build_request(self) -> EvidenceRequest:
        return EvidenceRequest(
            source=str(self._source),
            engine=self.engine.currentData(),
            precision=self.precision.currentData(),
            model=self.model.currentData() or None,
            accelerator=self.accelerator.currentData() or None,
            tensor_parallel=self.tensor_parallel.value() or None,
            expert_parallel=self.expert_parallel.value(),
            version=self.version.text().strip() or UNKNOWN_VERSION,
            kv_dtype=self.kv_cache.currentData(),
            input_tokens=self.input_tokens.value() or None,
            output_tokens=self.output_tokens.value() or None,
            speculation=self.speculation.currentData(),
        )

    def _add(self) -> None:
        request, today = self.build_request(), get_utc_now().date()
        self.add_button.setEnabled(False)
        submit(self, lambda: add_evidence(request, today), self._on_added, self._show_problem)

    def _on_added(self, added: AddedEvidence) -> None:
        self.accept()
        self.added.emit(added)

    def _show_problem(self, error: Exception) -> None:
        notice = build_error_notice(error)
        self.problem.setText("\n".join(filter(None, (notice.summary, notice.reason, notice.next_step))))
        self.problem.show()
        self.add_button.setEnabled(True)
