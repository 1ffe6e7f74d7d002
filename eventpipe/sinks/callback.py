"""A sink that hands batches to a function."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from eventpipe.errors import TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import OutcomeKind, Verdict
from eventpipe.sinks.base import BaseSink

if TYPE_CHECKING:
    from eventpipe.contracts import Where

Answer = Sequence[Verdict] | None
Callback = Callable[[Batch], Answer | Awaitable[Answer]]

_KINDS: Final = (OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY)
_ALLOWED: Final = ", ".join(_KINDS)


class CallbackSink(BaseSink):
    """Calls ``fn(batch)`` for each attempt and waits for it when it is async.

    ``None`` means that every event was delivered; else ``fn`` returns one verdict per event, in order. What it raises
    counts as the sink's own error: ``TransientSinkError``, ``PermanentSinkError``, or any other, which is transient.
    A plain function holds up the event loop while it runs, so one that does I/O should be async.

    Args:
        fn: A plain or async function, or any other callable, of one ``Batch``.
        where: See ``BaseSink``.
        name: See ``BaseSink``.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(self, fn: Callback, *, where: Where | None = None, name: str | None = None) -> None:
        if not callable(fn):
            raise ValueError(f"fn must be callable, not {fn!r}")
        super().__init__(where=where, name=name)
        self._fn = fn

    async def send(self, batch: Batch) -> Answer:
        """Call the function with ``batch`` and pass on its verdicts.

        Raises:
            ClosedError: ``aclose()`` was called before.
            TransientSinkError: The function returned something that is not one verdict per event.

        Cancellation:
            Reaches an async function where it waits, and passes through.
        """
        self._check_open()
        answer = self._fn(batch)
        if inspect.isawaitable(answer):
            answer = await answer
        return None if answer is None else self._checked(answer, batch)

    def _checked(self, answer: object, batch: Batch) -> Sequence[Verdict]:
        """Pass verdicts on, after a look that each is one: an answer taken on trust would be miscounted."""
        if not isinstance(answer, Sequence):
            raise self._refusal(f"None or a sequence of verdicts, not {type(answer).__name__}")
        if len(answer) != len(batch.events):
            raise self._refusal(f"one verdict per event, not {len(answer)} for {len(batch.events)} events")
        for index, verdict in enumerate(answer):
            if not isinstance(verdict, Verdict):
                raise self._refusal(f"verdicts, not {type(verdict).__name__} at index {index}")
            if verdict.kind not in _KINDS:
                raise self._refusal(f"verdicts of kind {_ALLOWED}, not {verdict.kind} at index {index}")
        return answer

    def _refusal(self, rule: str) -> TransientSinkError:
        return TransientSinkError(f"the function of {self.name} must return {rule}", reason="sink_error")
