"""Scenarios of the codec contract: what a codec writes."""

from __future__ import annotations

import builtins
import copy
import os
import random
import re
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson
import pytest

from eventpipe.contracts import Request
from eventpipe.testing.codec_events import any_events, awkward_events, batches, plain_events
from eventpipe.testing.codec_rig import ReadEvent
from eventpipe.testing.events import STAMP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpipe.events import Batch, CapturedEvent
    from eventpipe.testing.codec_rig import CodecRig

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE: Final = re.compile(r"[ -~]*")
_OF_THE_SINK: Final = frozenset(
    {"content-length", "transfer-encoding", "content-encoding", "accept-encoding", "host", "connection"}
)
_EXAMPLES: Final = 60  # lists of events that hypothesis makes up

# What a codec could ask for the time, for chance, or for the world, and is given instead or does without.
_OUTSIDE: Final[Sequence[tuple[object, str]]] = (
    *((time, name) for name in ("time", "time_ns", "monotonic", "perf_counter", "sleep")),
    (uuid, "uuid1"),
    (uuid, "uuid4"),
    (os, "urandom"),
    (random, "random"),
    (secrets, "token_bytes"),
    (socket, "socket"),
    (builtins, "open"),
)


class RequestScenarios:
    """What a codec promises of its requests."""

    def test_a_request_is_one_that_a_sink_can_send(self, rig: CodecRig) -> None:
        """A path of the sink's own origin, headers of valid names and values, one Content-Type, and bytes."""
        for batch in batches(rig.codec, awkward_events(rig.codec)):
            _check_form(_write(rig, batch))

    @pytest.mark.parametrize("number", [1, 2, 300], ids=str)
    def test_every_event_arrives_once_and_in_order(self, rig: CodecRig, number: int) -> None:
        """A reader finds in a request the events of its batch, whole, each once, in their order."""
        check_read(rig, plain_events(rig.codec, number))

    def test_events_of_every_shape_arrive(self, rig: CodecRig) -> None:
        """Text of any kind, nothing at all, large values, odd times, headers, keys and lifted properties."""
        events = awkward_events(rig.codec)

        for event in events:  # by itself: one of another shape beside it may change how all are written
            check_read(rig, [event])
        check_read(rig, events)

    def test_events_made_up_at_random_arrive(self, rig: CodecRig) -> None:
        """Whatever can be captured can be read back."""
        pytest.importorskip("hypothesis", reason="hypothesis makes up the events")
        from hypothesis import Phase, given, settings

        @settings(max_examples=_EXAMPLES, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
        @given(any_events(rig.codec))
        def check(events: Sequence[CapturedEvent]) -> None:
            check_read(rig, events)

        check()

    def test_the_same_arguments_make_the_same_request(self, rig: CodecRig) -> None:
        """Also after other batches were written: a codec keeps nothing of one."""
        made = batches(rig.codec, awkward_events(rig.codec))

        first = [_parts(_write(rig, batch)) for batch in made]
        again = [_parts(_write(rig, batch)) for batch in reversed(made)]

        assert first == again[::-1]

    def test_a_request_takes_time_and_chance_from_its_arguments(
        self, rig: CodecRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It reads no clock, draws no numbers, and opens nothing; all it needs was there when the codec was made."""
        made = batches(rig.codec, awkward_events(rig.codec))
        for batch in made:
            _write(rig, batch)  # what a codec looks up once, it has looked up now

        asked: list[str] = []
        with monkeypatch.context() as patch:
            for module, name in _OUTSIDE:
                patch.setattr(module, name, _recorder(asked, name, getattr(module, name)))
            for batch in made:
                _write(rig, batch, attempt=2)

        assert asked == []

    def test_a_request_leaves_its_batch_as_it_was(self, rig: CodecRig) -> None:
        """The batch belongs to the driver, and its events to other sinks too."""
        for batch in batches(rig.codec, awkward_events(rig.codec)):
            events, before = batch.events, _state(batch)

            _write(rig, batch)

            assert batch.events is events
            assert _state(batch) == before

    def test_a_request_stays_as_it_was_written(self, rig: CodecRig) -> None:
        """A sink may still hold one while the next is written."""
        first, second = (batches(rig.codec, plain_events(rig.codec, 1))[0] for _ in range(2))
        request = _write(rig, first)
        before = _parts(request)

        _write(rig, second, attempt=2, now=STAMP + 60)

        assert _parts(request) == before

    def test_all_attempts_carry_the_same_events(self, rig: CodecRig) -> None:
        """Ids and times stay, so that a far end can tell an event that it has; what is per attempt is beside them."""
        for batch in batches(rig.codec, awkward_events(rig.codec)):
            first = _write(rig, batch, attempt=1, now=STAMP)
            later = _write(rig, batch, attempt=7, now=STAMP + 3600.5)

            assert (first.url, set(first.headers)) == (later.url, set(later.headers))
            assert exact(rig.read(first)) == exact(rig.read(later))


def check_read(rig: CodecRig, events: Iterable[CapturedEvent]) -> None:
    """Check that a reader finds in the requests what the events say, batch by batch."""
    for batch in batches(rig.codec, events):
        read = rig.read(_write(rig, batch))

        assert [event.uuid for event in read] == [event.uuid for event in batch.events]
        assert exact(read) == exact(map(rig.expect, batch.events))


def _write(rig: CodecRig, batch: Batch, *, attempt: int = 1, now: float = STAMP) -> Request:
    return rig.codec.request(batch, attempt, now)


def _parts(request: Request) -> tuple[str, dict[str, str], bytes]:
    return request.url, dict(request.headers), request.body


def _check_form(request: Request) -> None:
    assert isinstance(request, Request)
    assert isinstance(request.body, bytes)
    names = [name.lower() for name in request.headers]
    assert [name for name in names if not _TOKEN.fullmatch(name)] == [], "a header has a name that none can have"
    assert [name for name, value in request.headers.items() if not _PRINTABLE.fullmatch(value)] == [], (
        "a header has a value that is not printable ASCII"
    )
    assert len(names) == len(set(names)), "a header occurs twice"
    assert "content-type" in names
    assert _OF_THE_SINK.isdisjoint(names), "a header is one that the sink writes"
    split = urlsplit(request.url)
    assert (split.scheme, split.netloc, split.fragment) == ("", "", ""), "the url is more than a path and a query"
    assert re.fullmatch(r"(/[!-~]*)?", request.url), "the url is neither empty nor a path of printable ASCII"


def _recorder(asked: list[str], name: str, real: Callable[..., Any]) -> Callable[..., Any]:  # Any: handed through
    def record(*args: Any, **kwargs: Any) -> Any:  # Any: handed through
        asked.append(name)
        return real(*args, **kwargs)

    return record


def _state(batch: Batch) -> object:
    events = [
        (event.data, event.lane, copy.deepcopy(event.extra), event.captured_at, event.settlement)
        for event in batch.events
    ]
    return batch.id, batch.lane, batch.created_at, batch.attempt, events


def exact(events: Iterable[ReadEvent]) -> list[dict[str, object]]:
    """Events by their attributes, such that ``1``, ``1.0`` and ``True`` differ, and the order of members does not."""
    return [
        {**vars(event), "properties": orjson.dumps(event.properties, option=orjson.OPT_SORT_KEYS)} for event in events
    ]
