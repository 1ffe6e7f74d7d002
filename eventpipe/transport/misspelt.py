"""Variables of the environment that look like options and that nothing reads: told of once each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventpipe.checked import Checked, nearest, shown
from eventpipe.core.log import contained_logger
from eventpipe.environment import CONFIG_VARIABLE, PREFIX, variables

_logger = contained_logger("eventpipe")
_told: Final[set[str]] = set()


def warn_of_misspelt(model: type[Checked], environ: Mapping[str, str]) -> None:
    """Write a line for each variable that is spelt nearly as one that sets an option of ``model``.

    Others that begin as ours do are somebody's own; ``eventpipe doctor`` names them all.
    """
    ours = {name for name in environ if name.startswith(PREFIX)} - _told
    if not ours:
        return
    known = variables(model)
    for name in sorted(ours - {*known, CONFIG_VARIABLE}):
        _told.add(name)
        near = nearest(_bare(name), [_bare(variable) for variable in known])
        if near is not None:
            _logger.warning("variable %s sets no option; did you mean %r?", shown(name), PREFIX + near.upper())


def _bare(name: str) -> str:
    return name.removeprefix(PREFIX).lower()  # without the beginning, by which all of them would be near
