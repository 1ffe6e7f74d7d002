"""Functions that a file names, ``package.module:function``."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from eventpipe.checked import shown, suggestion
from eventpipe.core.failures import where_raised
from eventpipe.pipeline.tables import TEXT, Table


def find(name: str) -> object:
    """Import the module and find what is called so in it; ``module:object.method`` goes further down.

    Raises:
        ValueError: There is no such module or function, or the module cannot be imported; it says which and why.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise ValueError(f"must name a function as 'package.module:function', not {shown(name)}")
    found: object = _imported(module_name)
    for part in path.split("."):
        known = [known for known in dir(found) if not known.startswith("_")]
        if not hasattr(found, part):
            raise ValueError(f"there is no {shown(part)} in {module_name}{suggestion(part, known)}")
        found = getattr(found, part)
    return found


def taken_function(table: Table, key: str) -> Any:  # Any: a function, which its user checks
    """The function that a key names; ``None`` where it is absent, or a fault was found."""
    name = table.take(key, TEXT)
    if name is None:
        return None
    try:
        return find(name)
    except ValueError as error:
        table.fault(f"{table.key_called(key)}: {table.source.without_secrets(str(error))}")
        return None


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {shown(name)} here, and none is installed") from None
        raise ValueError(f"module {name} cannot be imported: {error}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a foreign module does; its text may quote anything
        raise ValueError(f"module {name} cannot be imported: {where_raised(error)}") from None
