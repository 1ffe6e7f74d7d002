"""Which keys hide what is under them, and which hold nothing themselves."""

from __future__ import annotations

import re
from typing import Final

from eventpipe.checked import shown
from eventpipe.privacy.patterns import Pattern, pattern, several

# Names come back with every event: the answer for one costs 0.03 µs where it is kept. A program that makes names of
# ids must not fill the memory with them.
MAX_KEPT: Final = 4096
MAX_KEPT_LENGTH: Final = 128

_NOT_TOLD_APART: Final = str.maketrans(dict.fromkeys("-_ ."))
_UNTOLD: Final = ("<type ", "<error ")  # how the encoder writes a key that is none, which might have been any name
_NUMBER: Final = re.compile(r"~[0-9]+\Z")


class KeyNames:
    """Judges the keys of objects: ``api_key`` is ``API-Key`` and ``apiKey`` as well.

    Attributes:
        clean: Some of the keys that neither hide what is under them nor hold anything themselves.
    """

    def __init__(self, keys: object, patterns: tuple[Pattern, ...]) -> None:
        """Check the names.

        Args:
            keys: Names, and patterns that are looked for in names.
            patterns: What no name may hold.

        Raises:
            ValueError: A name is empty or no text, or a pattern is none.
        """
        names, found = [], []
        for number, one in enumerate(several("keys", keys)):
            if isinstance(one, str):
                names.append(_name(f"keys[{number}]", one))
            else:
                found.append(pattern(f"keys[{number}]", one))
        self._names = frozenset(names)
        self._patterns = tuple(found)
        self._finds = tuple(one.find for one in patterns)
        self.clean: set[str] = set()

    def __len__(self) -> int:
        return len(self._names) + len(self._patterns)

    def hides(self, key: str) -> bool:
        """Whether what is under ``key`` is not to be sent."""
        if "~" in key:
            key = _NUMBER.sub("", key)  # the encoder's, for the second of two keys that are written alike
        if key.startswith(_UNTOLD):
            return len(self) > 0
        return _folded(key) in self._names or any(one.find(key) for one in self._patterns)

    def is_clean(self, key: str) -> bool:
        """Whether ``key`` says nothing, and does not hide what is under it; keeps the answer, so that it is quick."""
        if self.hides(key) or any(find(key) for find in self._finds):
            return False
        if len(key) <= MAX_KEPT_LENGTH and len(self.clean) < MAX_KEPT:
            self.clean.add(key)
        return True


def _folded(name: str) -> str:
    return name.translate(_NOT_TOLD_APART).casefold()


def _name(option: str, given: str) -> str:
    folded = _folded(given)
    if not folded:
        raise ValueError(f"{option} must be a name, not {shown(given)}")
    return folded
