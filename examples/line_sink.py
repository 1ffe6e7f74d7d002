"""A sink of one's own: each batch is a line of JSON to a TCP server, which answers with a line of words."""

import asyncio
from collections.abc import Sequence

from eventpipe import Batch, ClosedError, DropReason, OutcomeKind, PermanentSinkError, TransientSinkError, Verdict


class LineSink:
    """Sends a batch as a JSON array on one line.

    The server answers ``ok``, ``busy 5`` (come back in five seconds), ``refused``, or a word for each event.
    """

    def __init__(self, host: str, port: int, *, timeout: float = 5.0) -> None:
        self._address = (host, port)
        self._timeout = timeout
        self._is_closed = False

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Deliver ``batch``; return when the server has answered for it."""
        if self._is_closed:
            raise ClosedError("LineSink was closed")
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._exchange(b"[" + b",".join(event.json for event in batch.events) + b"]\n")
        except OSError as exc:  # TimeoutError is one
            raise TransientSinkError("the line server did not answer", reason="no_answer") from exc
        return judge(answer, len(batch.events))

    async def aclose(self) -> None:
        """End the sink; connections live no longer than a send."""
        self._is_closed = True

    async def _exchange(self, line: bytes) -> list[str]:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(line)
            await writer.drain()
            return (await reader.readline()).decode().split()
        finally:
            writer.close()


def judge(answer: list[str], events: int) -> Sequence[Verdict] | None:
    """Read the server's words."""
    match answer:
        case ["ok"]:
            return None
        case ["refused"]:
            raise PermanentSinkError("the line server refused the batch")
        case ["busy", *seconds]:
            raise TransientSinkError(retry_after=float(seconds[0]) if seconds else None, reason="busy")
        case words if len(words) == events:
            return [
                Verdict(OutcomeKind.DELIVERED)
                if word == "ok"
                else Verdict(OutcomeKind.DROPPED, DropReason.REJECTED, detail=word)
                for word in words
            ]
        case _:
            raise TransientSinkError("the line server's answer was cut short", reason="bad_answer")
