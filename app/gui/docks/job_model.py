"""Jobs as a Qt list."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from app.gui.docks.job_queue import Job
from app.gui.docks.job_words import job_line
from app.gui.widgets import tip

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()


class JobModel(QAbstractListModel):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.jobs: tuple[Job, ...] = ()

    def set_jobs(self, jobs: Sequence[Job]) -> None:
        """Nothing happens where they are the same, so that what is chosen stays chosen."""
        if tuple(jobs) != self.jobs:
            self.beginResetModel()
            self.jobs = tuple(jobs)
            self.endResetModel()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.jobs)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        job = self.jobs[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return job_line(job)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(f"sizewise {' '.join(job.launch.arguments)}\n{job.launch.directory}")
        return None
