"""ONE FILE = ONE METHOD. A method's name is its file's name; the class is the file's only concrete method."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from salience.errors import UserError
from salience.methods.closed_form import ClosedForm
from salience.methods.contract import Context, Method

if TYPE_CHECKING:
    from salience.catalogue import Entry
    from salience.origins import Origin


def method_class(name: str | Entry) -> type[Method] | type[ClosedForm]:
    """The class of a method by name, file or entry. Raises UserError with the nearest names where there is none."""
    from salience import catalogue  # a user of one method need not load the list of all

    entry = catalogue.find(name) if isinstance(name, str) else name
    if entry.origin is not None:
        return _checked(entry.origin)
    module = import_module(f"salience.methods.{entry.family}.{entry.name}")
    return getattr(module, entry.class_name)


def _checked(origin: Origin) -> type[Method] | type[ClosedForm]:
    """The class of a method of someone else. Raises UserError where it is none."""
    found = origin.load()
    if not (isinstance(found, type) and issubclass(found, Method | ClosedForm)):
        raise UserError(f"method: {origin.name} is no subclass of salience.methods.Method or ClosedForm; derive it")
    return found


__all__ = ["ClosedForm", "Context", "Method", "method_class"]
