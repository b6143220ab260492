"""Editor for a group of profile fields: common fields, fields of the selected alternative form, and
rarely used fields in the section "Advanced"."""

from __future__ import annotations

from typing import Any, Protocol

from PySide6.QtWidgets import QWidget

from app.gui.formatting import shorten
from app.gui.forms.arrangement import (
    display_name,
    initial_form_values,
    initial_value,
    is_applicable,
    is_rare,
    sort_fields,
)
from app.gui.forms.collapsible import CollapsibleSection
from app.gui.forms.editor import REMOVED, Editor, Edits
from app.gui.forms.lists import CheckBoxesEditor, NumbersEditor, PairsEditor, RowsEditor
from app.gui.forms.records import RecordsEditor
from app.gui.forms.row import INDENT, FieldRow, build_help_text
from app.gui.forms.scalars import CheckBoxEditor, ChoiceEditor, LineEditor, YamlEditor
from app.gui.widgets import WheelSafeComboBox, button, hbox, vbox
from app.profiles.document import KeyPath
from app.profiles.fields import FieldSpec

_SPACING = 8


class KeyEditor(Protocol):
    """Editor for one key of a group."""

    def show_value(self, value: Any) -> None: ...
    def set_problem(self, text: str) -> None: ...
    def focus(self) -> None: ...
    def setVisible(self, visible: bool, /) -> None: ...


def create_editor(spec: FieldSpec, path: KeyPath, edits: Edits) -> Editor:
    """Create the editor for a field that is not a group."""
    if spec.kind == "list":
        return _list_editor_type(spec)(spec, path, edits)
    if spec.kind == "choice" or (spec.kind == "yes_no" and spec.is_nullable):
        return ChoiceEditor(spec, path, edits)
    editor_types: dict[str, type[Editor]] = {"yes_no": CheckBoxEditor, "any": YamlEditor, "mapping": PairsEditor}
    return editor_types.get(spec.kind, LineEditor)(spec, path, edits)


def _list_editor_type(spec: FieldSpec) -> type[Editor]:
    assert spec.item is not None
    if spec.item.kind == "choice":
        return CheckBoxesEditor
    return NumbersEditor if spec.item.kind in ("whole", "number", "scalar") else RowsEditor


class GroupEditor(QWidget):
    """Editor for a group of fields. The fields in `excluded_keys` have an editor elsewhere."""

    def __init__(
        self, spec: FieldSpec, path: KeyPath, edits: Edits, depth: int = 0, excluded_keys: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.spec, self.path, self.edits, self._depth = spec, path, edits, depth
        self.value: dict[str, Any] = {}
        self.parts: dict[str, KeyEditor] = {}
        self.form_choices: dict[str, _FormChoice] = {}
        self._layout = vbox(within=self, spacing=_SPACING)
        fields = [field for field in sort_fields(spec.fields, path) if field.key not in excluded_keys]
        common_fields = [field for field in fields if not is_rare((*path, field.key))]
        self._rare_fields = [field for field in fields if field not in common_fields]
        for field in common_fields:
            self._add_form_choice(field.key)
            self._layout.addWidget(self._create_part(field))
        self.more_section: CollapsibleSection | None = None
        if self._rare_fields:
            self.more_section = CollapsibleSection("Advanced", self._create_more_content)
            self.more_section.head.setAccessibleName(f"Advanced settings of {display_name(spec.key or 'profile')}")
            self._layout.addWidget(self.more_section)

    def show_value(self, value: Any) -> None:
        self.value = value if isinstance(value, dict) else {}
        for key, part in self.parts.items():
            part.show_value(self.value.get(key, REMOVED))
            part.setVisible(self._is_shown(key))
        for choice in self.form_choices.values():
            choice.show_value(self.value)
        self._update_more_section()

    def find_part(self, path: KeyPath, is_opening: bool) -> Any:
        """Return the innermost row or heading at `path`, or None if the group has no such field. If
        `is_opening` is true, collapsed sections are expanded; otherwise the heading of a collapsed
        section is returned."""
        if not path or not isinstance(path[0], str) or self.spec.find_field(path[0]) is None:
            return None
        if self.more_section is not None and path[0] in {field.key for field in self._rare_fields}:
            if not is_opening and not self.more_section.is_open:
                return self.more_section
            self.more_section.show()
            self.more_section.set_open()
        part: Any = self.parts.get(path[0])
        if part is None:
            return None
        part.setVisible(True)
        inner_part = part.find_part(path[1:], is_opening) if isinstance(part, NestedGroup | RecordsEditor) else None
        return inner_part or part

    def clear_problems(self) -> None:
        if self.more_section is not None:
            self.more_section.set_problem("")
        for part in self.parts.values():
            part.set_problem("")
            if isinstance(part, NestedGroup | RecordsEditor):
                part.clear_problems()

    def _create_part(self, field: FieldSpec) -> QWidget:
        path = (*self.path, field.key)
        part: Any
        if field.kind == "group":
            part = NestedGroup(field, path, self.edits, self._depth)
        elif field.kind == "records":
            part = RecordsEditor(field, path, self.edits, self._depth, _create_group)
        else:
            part = FieldRow(create_editor(field, path, self.edits), self._depth)
        self.parts[field.key] = part
        assert isinstance(part, QWidget)
        return part

    def _add_form_choice(self, key: str) -> None:
        """Add the selector of alternative forms before the first field that belongs to one of the
        forms."""
        for title, forms in self.spec.one_of.items():
            if title not in self.form_choices and any(key in form.split("+") for form in forms):
                self.form_choices[title] = _FormChoice(self, title, forms, self._depth)
                self._layout.addWidget(self.form_choices[title])

    def _is_shown(self, key: str) -> bool:
        dotted_path = ".".join(map(str, (*self.path, key)))
        if dotted_path in self.edits.hidden_paths:
            return False
        if self.value.get(key) is not None:
            return True
        if dotted_path in self.edits.unused_paths:
            return False
        choices = [choice for choice in self.form_choices.values() if choice.has_key(key)]
        if choices:
            return any(choice.is_selected(key, self.value) for choice in choices)
        return is_applicable(self.spec.settings, key, self.value)

    def _has_special_editor(self, key: str) -> bool:
        return ".".join(map(str, (*self.path, key))) in self.edits.special_paths

    def _create_more_content(self) -> QWidget:
        container = QWidget()
        layout = vbox(within=container, spacing=_SPACING)
        for field in self._rare_fields:
            part = self._create_part(field)
            layout.addWidget(part)
            self.parts[field.key].show_value(self.value.get(field.key, REMOVED))
            part.setVisible(self._is_shown(field.key))
        return container

    def _update_more_section(self) -> None:
        """Show or hide the "Advanced" section. The section expands automatically once if one of its
        fields is set that no special editor shows; afterwards the user can collapse the section."""
        if self.more_section is None:
            return
        set_field_names = [
            display_name(field.key)
            for field in self._rare_fields
            if field.key in self.value and not field.is_required and not self._has_special_editor(field.key)
        ]
        self.more_section.setVisible(any(self._is_shown(field.key) for field in self._rare_fields))
        if set_field_names and not self.more_section.has_content:
            self.more_section.set_open()
        self.more_section.set_heading(
            "Advanced",
            ", ".join(set_field_names)
            or ", ".join(display_name(field.key) for field in self._rare_fields if self._is_shown(field.key)),
        )


def _create_group(spec: FieldSpec, path: KeyPath, edits: Edits, depth: int) -> GroupEditor:
    return GroupEditor(spec, path, edits, depth)


class NestedGroup(CollapsibleSection):
    """Collapsible editor for a nested group. An optional group can be added and removed as a
    whole. The owner of a group with a `heading` of its own also sets its summary, which is shown
    permanently."""

    def __init__(
        self,
        spec: FieldSpec,
        path: KeyPath,
        edits: Edits,
        depth: int,
        *,
        indent: int = INDENT,
        role: str | None = None,
        heading: str | None = None,
    ) -> None:
        super().__init__(
            heading or display_name(spec.key),
            self._create_nested,
            indent=indent,
            role=role,
            is_summary_permanent=heading is not None,
        )
        self._has_own_heading = heading is not None
        self.spec, self._path, self._edits, self._depth = spec, path, edits, depth
        self._value: Any = REMOVED
        self._was_set = False
        self.setToolTip(build_help_text(spec))
        self.head.setAccessibleDescription(build_help_text(spec))
        self.add_button = button("Add", self._add)
        self.add_button.setAccessibleName(f"Add {display_name(spec.key)}")
        self.remove_button = button("Remove", self._remove)
        self.remove_button.setAccessibleName(f"Remove {display_name(spec.key)}")
        self.line.addWidget(self.add_button)
        self.line.addWidget(self.remove_button)

    def show_value(self, value: Any) -> None:
        is_set = isinstance(value, dict)
        self._value = value
        is_optional = self.spec.is_nullable
        self.add_button.setVisible(is_optional and not is_set)
        self.remove_button.setVisible(is_optional and is_set)
        self.head.setEnabled(is_set or not is_optional)
        is_shown_elsewhere = self._has_own_heading or ".".join(map(str, self._path)) in self._edits.special_paths
        if is_set and not self._was_set and not is_shown_elsewhere:
            self.set_open()
        elif is_optional and not is_set:
            self.set_open(False)
        self._was_set = is_set
        if not self._has_own_heading:
            self.set_heading(display_name(self.spec.key), summarize_value(value, self.spec))
        if self.has_content:
            self.group().show_value(value)

    @property
    def is_absent(self) -> bool:
        return self.spec.is_nullable and not isinstance(self._value, dict)

    def group(self) -> GroupEditor:
        content = self.content()
        assert isinstance(content, GroupEditor)
        return content

    def find_part(self, path: KeyPath, is_opening: bool) -> Any:
        if self.is_absent:
            return None
        if is_opening:
            self.set_open()
        return self.group().find_part(path, is_opening) if self.is_open else None

    def clear_problems(self) -> None:
        self.set_problem("")
        if self.has_content:
            self.group().clear_problems()

    def _create_nested(self) -> QWidget:
        group = GroupEditor(self.spec, self._path, self._edits, self._depth + 1)
        group.show_value(self._value)
        return group

    def _add(self) -> None:
        self._edits.edited.emit(self._path, initial_value(self.spec))

    def _remove(self) -> None:
        self._edits.edited.emit(self._path, REMOVED)


class _FormChoice(QWidget):
    """Selector for the mutually exclusive options of a group. Selecting another option fills in
    example values."""

    def __init__(self, group: GroupEditor, subject: str, forms: tuple[str, ...], depth: int) -> None:
        super().__init__()
        self._group, self._forms = group, forms
        self.box = WheelSafeComboBox()
        self.box.setPlaceholderText("Choose…")
        title = subject[0].upper() + subject[1:]
        for form in forms:
            self.box.addItem(" and ".join(display_name(key) for key in form.split("+")), form)
        self.box.setAccessibleName(title)
        self.box.activated.connect(self._select_form)
        row = FieldRow(_FormChoiceAdapter(self.box, group), depth, title)
        row.reset_button.hide()
        row.setToolTip("Set exactly one of these options.")
        hbox(row, within=self)

    def show_value(self, value: dict[str, Any]) -> None:
        current_form = self._current_form(value)
        self.box.setCurrentIndex(self._forms.index(current_form) if current_form else -1)

    def has_key(self, key: str) -> bool:
        return any(key in form.split("+") for form in self._forms)

    def is_selected(self, key: str, value: dict[str, Any]) -> bool:
        current_form = self._current_form(value)
        return current_form is not None and key in current_form.split("+")

    def _current_form(self, value: dict[str, Any]) -> str | None:
        """Return the longest form whose keys are all set in `value` or, if there is none, the
        longest form with at least one key set. Return None if no key is set."""
        set_keys = {key for key in value if value[key] not in (None, [])}
        matching_forms = [form for form in self._forms if set_keys & set(form.split("+"))]
        complete_forms = [form for form in matching_forms if set(form.split("+")) <= set_keys]
        return max(complete_forms or matching_forms, key=len, default=None)

    def _select_form(self) -> None:
        group = self._group
        form = str(self.box.currentData())
        form_keys = {key for other_form in self._forms for key in other_form.split("+")}
        value = group.value
        remaining_values = {
            key: field_value for key, field_value in value.items() if key not in form_keys or key in form.split("+")
        }
        added_values = {
            key: field_value
            for key, field_value in initial_form_values(group.spec, form).items()
            if key not in remaining_values
        }
        merged_values = {**remaining_values, **added_values}
        settings_class = group.spec.settings
        group.edits.edited.emit(
            group.path,
            {
                key: field_value
                for key, field_value in merged_values.items()
                if is_applicable(settings_class, key, merged_values)
            },
        )


class _FormChoiceAdapter(Editor):
    """Adapter that places the selector of the alternative forms in a field row, although the
    selector is not a field."""

    def __init__(self, box: WheelSafeComboBox, group: GroupEditor) -> None:
        super().__init__(FieldSpec(key="", kind="choice"), group.path, group.edits)
        hbox(box, within=self)
        self.focus_target = box

    def show_value(self, value: Any) -> None:
        del value


def summarize_value(value: Any, spec: FieldSpec) -> str:
    """Return a short summary of a group, shown while the group is collapsed."""
    if not isinstance(value, dict):
        return "none" if spec.is_nullable else "default"
    values = [
        str(field_value)
        for field_value in value.values()
        if isinstance(field_value, str | int | float) and not isinstance(field_value, bool)
    ]
    return shorten(", ".join(values), 80) or shorten(", ".join(display_name(key) for key in value), 80) or "default"
