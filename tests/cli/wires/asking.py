"""What one wire makes of a request, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from eventpipe.cli.wires import all_wires, wire_of
from eventpipe.cli.wires.base import OK, Answer, Asked, Judge, RefusedError, Taken, Wire
from eventpipe.cli.wires.webhook import Signatures

JSON = "application/json"


def always_ok() -> str:
    return OK


def ask(
    path: str,
    body: bytes | Any,  # Any: JSON
    headers: Mapping[str, str] | None = None,
    content_type: str = JSON,
    judge: Judge = always_ok,
    wires: Sequence[Wire] | None = None,
) -> Taken:
    """Let the wire whose request it is read it."""
    asked, wire = found(path, headers, content_type, wires)
    wire.check(asked)
    return wire.read(asked, body if isinstance(body, bytes) else orjson.dumps(body), judge)


def refusal(
    path: str,
    body: bytes | Any,  # Any: JSON
    headers: Mapping[str, str] | None = None,
    content_type: str = JSON,
    wires: Sequence[Wire] | None = None,
) -> Answer:
    """The answer to a request that has to be refused."""
    with pytest.raises(RefusedError) as refused:
        ask(path, body, headers, content_type, wires=wires)
    asked, wire = found(path, headers, content_type, wires)
    return wire.refuse(asked, refused.value)


def found(
    path: str, headers: Mapping[str, str] | None, content_type: str, wires: Sequence[Wire] | None
) -> tuple[Asked, Wire]:
    given = CIMultiDict({"Content-Type": content_type, **(headers or {})})
    asked = Asked(path.rstrip("/"), content_type.partition(";")[0], given)
    return asked, wire_of(asked, all_wires(Signatures()) if wires is None else wires)


def said(answer: Answer) -> Any:  # Any: JSON
    """The body of an answer."""
    return orjson.loads(answer.body)
