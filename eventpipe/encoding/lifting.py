"""Properties taken out of an event that was encoded with them inside."""

from __future__ import annotations

from collections.abc import Collection

import orjson

from eventpipe.events import CLOSING, CapturedEvent, Extra


def lifted_out(event: CapturedEvent, names: Collection[str]) -> CapturedEvent:
    """The event with these properties beside the envelope, as a client with a codec that wants them there captures it.

    An event of a log was encoded before anybody knew which codec would send it.

    Args:
        event: The event, which is left as it is.
        names: Names of properties. One that only some bytes of the event look like costs a look at all of it.

    Returns:
        Another event with the same id, time and moment of capture; the same object where there is nothing to take out.

    Raises:
        ValueError: Its bytes are no JSON.
    """
    data = event.data
    if not any(orjson.dumps(name) in data for name in names):
        return event
    envelope = orjson.loads(data + CLOSING)
    properties = envelope["properties"]
    taken = {name: orjson.dumps(properties.pop(name)) for name in names if name in properties}
    if not taken:
        return event
    extra = event.extra or Extra()
    beside = extra._replace(lifted={**(extra.lifted or {}), **taken})
    return CapturedEvent(event.name, orjson.dumps(envelope)[:-2], event.lane, beside, event.captured_at)
