"""Ids and offsets on the command line: taken as they are written, where cyclopts would round them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token

_DIGITS = re.compile(r"-?\d+", re.ASCII)


def _whole(type_: type, tokens: Sequence[Token]) -> int | tuple[int, ...]:
    numbers = []
    for token in tokens:
        if not _DIGITS.fullmatch(token.value):
            raise ValueError(f"{token.value!r} is not a whole number")
        numbers.append(int(token.value))
    return numbers[0] if type_ is int else tuple(numbers)


Whole = Annotated[int, Parameter(converter=_whole)]
