"""The tables of a file, read key by key, and everything that is wrong with them at once."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from eventpipe import environment
from eventpipe.checked import Checked, shown, suggestion
from eventpipe.codecs.keys import forms_of

P = ParamSpec("P")
T = TypeVar("T")

NONE: Final = "none"
"""How a file writes ``None`` for an option whose ``None`` is a value of its own: TOML has no word for it."""

_VARIABLE: Final = re.compile(r"\$(\$?)\{([^{}]*)\}")
_HIDDEN: Final = " (its value is not shown)"
_MAX_SHOWN_KEY: Final = 60
_WHOLE: Final = 2**63  # TOML has numbers of 64 bits; Python reads longer ones, which engines and clocks cannot take


class Kind(NamedTuple):
    """What a key may hold.

    Attributes:
        words: For messages.
        holds: Whether a value of TOML is one.
    """

    words: str
    holds: Callable[[object], bool]


TEXT: Final = Kind("a string", lambda value: type(value) is str)
WHOLE: Final = Kind("a whole number", lambda value: type(value) is int and -_WHOLE <= value < _WHOLE)
NUMBER: Final = Kind(
    "a finite number", lambda value: WHOLE.holds(value) or (type(value) is float and math.isfinite(value))
)
FLAG: Final = Kind("true or false", lambda value: type(value) is bool)
TEXTS: Final = Kind("an array of strings", lambda value: isinstance(value, list) and all(map(TEXT.holds, value)))
NUMBERS: Final = Kind(
    "an array of finite numbers", lambda value: isinstance(value, list) and all(map(NUMBER.holds, value))
)
TEXT_OR_TEXTS: Final = Kind("a string, or an array of strings", lambda value: TEXT.holds(value) or TEXTS.holds(value))
TEXT_OR_WHOLE: Final = Kind("a string or a whole number", lambda value: TEXT.holds(value) or WHOLE.holds(value))
MAPPING: Final = Kind(
    "a table of strings", lambda value: isinstance(value, dict) and all(map(TEXT.holds, value.values()))
)
TABLE: Final = Kind("a table", lambda value: isinstance(value, dict))
TABLES: Final = Kind("an array of tables", lambda value: isinstance(value, list) and all(map(TABLE.holds, value)))
CODEC: Final = Kind("a string or a table", lambda value: type(value) in (str, dict))
POSITION: Final = Kind(
    "'earliest', 'latest', an offset or a date and time",
    lambda value: TEXT_OR_WHOLE.holds(value) or type(value) is datetime.datetime,
)

_OF_TYPES: Final = {str: TEXT, int: WHOLE, float: NUMBER, bool: FLAG}


class Source:
    """The file that is read.

    Attributes:
        called: What messages call it, on one line.
        folder: Where it is; its paths are relative to that.
        faults: What is wrong with it so far, one line each.
    """

    def __init__(self, called: str, folder: Path, environ: Mapping[str, str]) -> None:
        self.called = called
        self.folder = folder
        self.faults: list[str] = []
        self._environ = environ
        self._hidden: set[str] = set()  # what gives away values of the environment

    def filled(self, text: str, called: str) -> str | None:
        """A string with the values of its variables; ``None``, and a fault, where one is not set."""
        missing: list[str] = []

        def value(match: re.Match[str]) -> str:
            escape, name = match.groups()
            if escape:
                return f"${{{name}}}"
            found = self._environ.get(name)
            if not found:
                missing.append(name)
                return ""
            self._hidden.update(form for form in (found, *forms_of(found)) if form)
            return found

        made = _VARIABLE.sub(value, text)
        self.faults += [f"{called} needs the environment variable {shown(name)}, which is not set" for name in missing]
        return None if missing else made

    def without_secrets(self, text: str) -> str:
        """A message as it may be shown: without what came from the environment."""
        if not any(form in text for form in self._hidden):
            return text
        rule = text.partition(", not ")[0]
        return (rule if not any(form in rule for form in self._hidden) else "a value cannot be used") + _HIDDEN


class Table:
    """One table: each key is taken by who needs it, and what nobody took is unknown.

    Args:
        source: The file.
        values: What the table holds.
        path: What stands before its keys in messages, such as ``"store."``.
        owner: What stands behind them, such as ``" of consumer 'audit'"``.

    Attributes:
        source: As given.
    """

    def __init__(self, source: Source, values: Mapping[str, Any], path: str = "", owner: str = "") -> None:
        self.source = source  # Any: what TOML carries
        self._values = values
        self._path = path
        self._owner = owner
        self._known: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    @property
    def called(self) -> str:
        """What messages call the table itself."""
        name = f"{self._path.rstrip('.')}{self._owner}".removeprefix(" of ")
        return f"{name} in {self.source.called}" if name else self.source.called

    def key_called(self, key: str) -> str:
        """What messages call a key of it."""
        text = key if key.isprintable() else repr(key)[1:-1]
        text = text if len(text) <= _MAX_SHOWN_KEY else text[: _MAX_SHOWN_KEY - 3] + "..."
        return f"{self._path}{text}{self._owner} in {self.source.called}"

    def fault(self, line: str) -> None:
        """Keep what is wrong."""
        self.source.faults.append(line)

    def take(self, key: str, kind: Kind, *, is_secret: bool = False) -> Any:  # Any: as ``kind`` says
        """The value of a key, with its variables filled in; ``None`` where it is absent, or a fault was found.

        Args:
            key: Which.
            kind: What it may hold.
            is_secret: Whether it has to come from the environment, and is shown in no message.
        """
        self._known[key] = None
        if key not in self._values:
            return None
        value, called = self._values[key], self.key_called(key)
        if not kind.holds(value):
            told = "a value that is not shown" if is_secret else _told(value)
            self.fault(f"{called} must be {kind.words}, not {told}")
            return None
        if is_secret and not has_variables(value):
            self.fault(
                f'{called} must come from the environment, as in {key} = "${{VARIABLE}}": files are copied and kept'
            )
            return None
        return self._filled(value, called)

    def expect(self, *keys: str) -> None:
        """Know keys that may be here, so that they are suggested for those that nobody knows."""
        self._known.update(dict.fromkeys(keys))

    def need(self, key: str, kind: Kind, example: str, *, is_secret: bool = False) -> Any:  # Any: as ``kind`` says
        """As ``take()``, where there has to be a value."""
        if key not in self._values:
            self._known[key] = None
            self.fault(f"{self.key_called(key)} is missing, such as {key} = {example}")
            return None
        return self.take(key, kind, is_secret=is_secret)

    def below(self, key: str) -> Table | None:
        """A table within it; ``None``: there is none, or something else is there."""
        values = self.take_raw(key, TABLE)
        return None if values is None else Table(self.source, values, f"{self._path}{key}.", self._owner)

    def inline(self, key: str, values: Mapping[str, Any]) -> Table:  # Any: as above
        """A table that was written as something shorter."""
        return Table(self.source, values, f"{self._path}{key}.", self._owner)

    def is_word(self, key: str, word: str) -> bool:
        """Whether a key, which is known now, has just this string as its value."""
        self._known[key] = None
        return bool(self._values.get(key) == word)

    def take_raw(self, key: str, kind: Kind) -> Any:  # Any: as ``kind`` says
        """As ``take()``, for what has values of its own: nothing is filled in."""
        self._known[key] = None
        if key not in self._values:
            return None
        value = self._values[key]
        if not kind.holds(value):
            self.fault(f"{self.key_called(key)} must be {kind.words}, not {_told(value)}")
            return None
        return value

    def options(self, model: type[Checked], *, with_none: frozenset[str] = frozenset()) -> dict[str, Any]:  # Any: same
        """The options of ``model`` that text and numbers can say, and that are set here; tables are left out.

        Args:
            model: Whose.
            with_none: Options that may be ``"none"``.
        """
        found: dict[str, Any] = {}
        for name, kind in environment.kinds(model).items():
            if kind not in _OF_TYPES:
                continue
            if name in with_none and self.is_word(name, NONE):
                found[name] = None
            elif (value := self.take(name, _OF_TYPES[kind])) is not None:
                found[name] = value
        return found

    def make(self, factory: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What ``factory`` makes of values of this table; ``None``, and its faults, where it refuses them."""
        try:
            return factory(*args, **kwargs)
        except (ValueError, TypeError, ImportError) as error:  # the latter of an extra
            lines = str(error).splitlines()
        for line in lines:
            self.fault(f"{self.called}: {self.source.without_secrets(line)}")
        return None

    def end(self, others: Mapping[str, str] | None = None) -> None:
        """Call unknown what nobody took.

        Args:
            others: Keys that another kind of this table has, and which.
        """
        for key in self._values:
            if key in self._known:
                continue
            if others is not None and key in others:
                self.fault(f"{self.key_called(key)} is for {others[key]} only")
            else:
                self.fault(f"unknown key {self.key_called(key)}{suggestion(key, list(self._known))}")

    def _filled(self, value: Any, called: str) -> Any:  # Any: what TOML carries
        if isinstance(value, str):
            return self.source.filled(value, called)
        if isinstance(value, list):
            texts = [self.source.filled(text, called) if isinstance(text, str) else text for text in value]
            return None if None in texts else texts
        if isinstance(value, dict):
            filled = {name: self.source.filled(text, f"{called}, {shown(name)},") for name, text in value.items()}
            return None if None in filled.values() else filled
        return value


def has_variables(value: object) -> bool:
    """Whether a string, or each of several, has a variable to fill in."""
    texts = value if isinstance(value, list) else [value]
    return all(any(not escape for escape, _ in _VARIABLE.findall(str(text))) for text in texts)


def _told(value: object) -> str:
    """A value as TOML has it, short; what has values of its own by what it is."""
    for kind, words in ((dict, "a table"), (list, "an array")):
        if isinstance(value, kind):
            return words
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and not WHOLE.holds(value):
        return "one of more than 64 bits"
    return shown(value) if isinstance(value, str | int | float) else "a date or a time"
