"""What the deliveries API can do: one operation for each method and path, and how a path finds its operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from eventpipe.delivery import Deliveries

Right = Literal["read", "write"]
"""What somebody may do: look, or everything."""


class Limits(NamedTuple):
    """What requests may ask for.

    Attributes:
        allow_private: Endpoints in private networks.
        allow_insecure: Endpoints that plain http leads to.
    """

    allow_private: bool
    allow_insecure: bool


class Call(NamedTuple):
    """One request for an operation, read and checked.

    Attributes:
        deliveries: Whose.
        names: The variable parts of its path.
        query: As the operation's model says it; ``None``: it has none.
        body: Likewise.
        limits: What it may ask for.
    """

    deliveries: Deliveries
    names: Mapping[str, str]
    query: Any  # Any: the model of the operation
    body: Any  # Any: as above
    limits: Limits


class Reply(NamedTuple):
    """An answer with another status than the operation's.

    Attributes:
        status: Of the answer.
        answer: Its body.
    """

    status: int
    answer: BaseModel


class Operation(NamedTuple):
    """One method of one path.

    Attributes:
        method: In capitals.
        path: Below the mount; its variable parts in braces.
        right: What is needed for it.
        summary: What it does, in the imperative.
        run: Does it; ``None``, or a model: the body of the answer.
        answer: The model of that; ``None``: there is no body.
        body: The model of the request's body; ``None``: it is not read.
        query: The model of its query; ``None``: it is not read.
        status: Of an answer of success.
        other: Statuses that it can have besides, each with its meaning.
    """

    method: str
    path: str
    right: Right
    summary: str
    run: Callable[[Call], Awaitable[BaseModel | Reply | None]]
    answer: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    other: Mapping[int, str] = {}


def found(operations: Sequence[Operation], segments: Sequence[str]) -> tuple[dict[str, Operation], dict[str, str]]:
    """The operations of a path by their methods, and its variable parts; none, where nothing has that path.

    A path without variable parts comes before one with: an event called ``resend`` does not hide what is called so.
    """
    by_method: dict[str, Operation] = {}
    names: dict[str, str] = {}
    for operation in sorted(operations, key=lambda one: one.path.count("{")):
        fitting = _names(operation.path.split("/")[1:], segments)
        if fitting is not None and (not by_method or operation.path == next(iter(by_method.values())).path):
            by_method[operation.method] = operation
            names = fitting
    return by_method, names


def _names(template: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    names = {}
    for part, segment in zip(template, segments, strict=True):
        if part.startswith("{") and segment:
            names[part[1:-1]] = segment
        elif part != segment:
            return None
    return names
