"""``before_send`` on the plain path: for what is captured with a name, an id and properties alone."""

from __future__ import annotations

import asyncio
import time
from threading import get_ident

from eventpipe.core.hook import HookError
from eventpipe.encoding import Encoder
from eventpipe.events import Event
from eventpipe.transport.entrance import Entrance, Prepared, RefusalError
from eventpipe.transport.hooks import Hooks

_new = object.__new__


class Changing:
    """Does as ``Entrance.prepare()`` with fewer calls: a hook that changes nothing costs 0.5 µs a capture, not 4."""

    __slots__ = ("_encoder", "_entrance", "_hook", "_hooks", "_thread")

    def __init__(self, entrance: Entrance, encoder: Encoder, hooks: Hooks) -> None:
        assert hooks.changes is not None  # noqa: S101  # else there is nothing to do
        self._entrance = entrance
        self._encoder = encoder
        self._hooks = hooks
        self._hook = hooks.changes
        self._thread: int | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be called by this thread alone, which runs ``loop``, from now on."""
        self._encoder.bind(loop)
        self._thread = get_ident()

    def prepare(self, event: object, distinct_id: object, properties: object) -> Prepared:
        """Run the hook and encode; a refusal is returned, not raised."""
        hook = self._hook
        if hook.thread is not None or self._entrance.is_closed or type(event) is not str:
            return None
        # Event(event, distinct_id, properties), without the call of its initialiser: 0.06 µs.
        described = _new(Event)
        described.event = event
        described.distinct_id = distinct_id  # type: ignore[assignment]  # checked by the encoder
        described.properties = properties  # type: ignore[assignment]  # checked by the encoder
        # One by one: a chain of assignments costs 0.02 µs more.
        described.timestamp = None
        described.uuid = None
        described.headers = None
        described.key = None
        described.lane = None
        described.overflow = None
        described.durability = None
        # A call of the hook, spelled out: 0.13 µs.
        function = hook.function
        hook.thread = self._thread
        began = time.perf_counter()
        try:
            changed = function(described)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001  # a hook costs itself, nobody else
            return self._entrance.hook_failed(described, hook.failed(exc))
        finally:
            duration = time.perf_counter() - began
            hook.thread = None
            if duration > hook.slowest:
                hook.took(duration)
        if (
            (changed is described or type(changed) is Event)
            and changed.timestamp is None
            and changed.uuid is None
            and changed.headers is None
            and changed.key is None
            and changed.lane is None
        ):
            captured = self._encoder.encode_plain(changed.event, changed.distinct_id, changed.properties)
            if captured is not None:
                return captured
        try:
            return self._entrance.encode_changed(described, self._hooks.checked(changed))
        except HookError as exc:
            return self._entrance.hook_failed(described, exc)
        except RefusalError as refusal:
            return refusal
