"""An offer of the user's own, written as a price list that the command line takes as well."""

from __future__ import annotations

import re
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFormLayout, QFrame, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from app.gui.plan.steppers import ChoiceField, NumberField
from app.gui.widgets import button, label
from app.records.offers import Catalogue

_NO_CARD = "none"


class OwnOfferForm(QFrame):
    """`written` is the Path of the price list."""

    written = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("An offer of yours")
        self._catalogue: Catalogue | None = None
        self.provider, self.instance, self.region = QLineEdit("mine"), QLineEdit("server"), QLineEdit("here")
        self.card = ChoiceField()
        self.count = NumberField(0, 1000, 0)
        self.vcpus = NumberField(1, 10_000, 0, " vCPUs")
        self.memory = NumberField(1, 100_000, 1, " GiB")
        self.price = NumberField(0.0001, 1e6, 4, " USD/h")
        self.count.setValue(1)
        self.vcpus.setValue(8)
        self.memory.setValue(32)
        self.price.setValue(1.0)
        self.problem = label("", wrap=True)
        self.problem.hide()
        left, right = QFormLayout(), QFormLayout()
        fields: tuple[tuple[QFormLayout, str, QWidget], ...] = (
            (left, "Pro&vider", self.provider),
            (left, "&Instance type", self.instance),
            (left, "&Region", self.region),
            (left, "&Price of one", self.price),
            (right, "&Accelerator", self.card),
            (right, "Accelerators an i&nstance", self.count),
            (right, "&CPUs", self.vcpus),
            (right, "&Memory", self.memory),
        )
        for form, name, field in fields:
            field.setAccessibleName(name.replace("&", ""))
            form.addRow(name, field)
        sides = QHBoxLayout()
        sides.addLayout(left, 1)
        sides.addLayout(right, 1)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(button("Cancel", self.hide))
        self.add = button("Add this offer", self._add, primary=True)
        foot.addWidget(self.add)
        column = QVBoxLayout(self)
        column.addLayout(sides)
        column.addWidget(self.problem)
        column.addLayout(foot)

    def show_cards(self, catalogue: Catalogue) -> None:
        if catalogue is self._catalogue:
            return
        self._catalogue = catalogue
        chosen = self.card.currentData()
        self.card.clear()
        self.card.addItem("none: CPU only", _NO_CARD)
        for key, card in sorted(catalogue.accelerators.items()):
            self.card.addItem(card.name, key)
        self.card.show_value(chosen or _NO_CARD)

    def begin(self) -> None:
        self.show()
        self.problem.hide()
        self.provider.setFocus()

    def row(self) -> dict[str, object]:
        """Cells as a price list has them."""
        card = str(self.card.currentData() or _NO_CARD)
        return {
            "provider": self.provider.text().strip(),
            "instance_type": self.instance.text().strip(),
            "region": self.region.text().strip(),
            "accelerator_key": card,
            **({} if card == _NO_CARD else {"accelerator_count": int(self.count.value())}),
            "vcpus": int(self.vcpus.value()),
            "memory_gib": self.memory.value(),
            "on_demand_usd_per_hour": self.price.value(),
        }

    def _add(self) -> None:
        from app.errors import SizewiseError
        from app.profiles.catalogue import load_catalogue
        from app.profiles.price_list import read_price_list
        from app.wiring.parts import wall_now

        try:
            path = write_price_list(self.row())
            problems = read_price_list(path, self._catalogue or load_catalogue(), wall_now().date()).problems
        except (OSError, SizewiseError) as error:
            self._say(str(error))
            return
        if problems:
            self._say(str(problems[0]))
            path.unlink(missing_ok=True)
            return
        self.hide()
        self.written.emit(path)

    def _say(self, text: str) -> None:
        self.problem.setText(text)
        self.problem.setVisible(True)


def write_price_list(row: dict[str, object]) -> Path:
    """Beside the runs, by the offer's name."""
    from app.gui.plan.writing import yaml_text
    from app.storage.run_directory import runs_home, write_whole

    folder = runs_home().parent / "prices"
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-zA-Z0-9]+", "-", f"{row['provider']}-{row['instance_type']}-{row['region']}").strip("-").lower()
    path = folder / f"{name or 'offer'}.yaml"
    write_whole(path, yaml_text([row]).encode())
    return path
