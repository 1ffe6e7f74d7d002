"""The metrics of instrumented clients: one set of instruments on each meter provider, each look at one moment."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeterProvider, Observation, get_meter_provider

from eventpipe.client import AsyncClient
from eventpipe.codecs.base import library_version
from eventpipe.core.log import contained_logger
from eventpipe.integrations.families import Seen
from eventpipe.integrations.opentelemetry_attempts import Attempts
from eventpipe.integrations.opentelemetry_measures import MEASURES, SENT, Points, Value, joined, left_by, points_of

logger = contained_logger("eventpipe")

# Source: OpenTelemetry's conventions for messaging.client.operation.duration; seconds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Source:
    """One client whose numbers are exported.

    Attributes:
        last: What was last found; what remains of the client where it cannot be asked any more.
        errors: Looks that failed.
    """

    def __init__(
        self,
        client: AsyncClient,
        attributes: Mapping[str, Value],
        attempts: Attempts,
        errors: Callable[[], int],
        *,
        event_names: bool = False,
    ) -> None:
        """Begin to look at ``client``.

        Args:
            client: Whose numbers they are.
            attributes: Added to those of each number.
            attempts: What has noted its attempts.
            errors: Says how many failures were kept from its events.
            event_names: Whether the names of events may be shown.
        """
        self._client = client
        self._attributes = dict(attributes)
        self._attempts = attempts
        self._failures = errors
        self._event_names = event_names
        self.last: Points = {}
        self.errors = 0

    def points(self) -> Points:
        """Look at the client, on its own loop; where that fails, what was found before."""
        try:
            self._attempts.show()
            seen = Seen.of(self._client, event_names=self._event_names)
            points = points_of(seen, self._failures() + self.errors, self._attributes)
            points[SENT] = dict(self._attempts.sent)
            self.last = points
        except Exception as error:  # noqa: BLE001  # the other clients of this provider are to be seen
            self.errors += 1
            if self.errors == 1:
                logger.warning("the numbers of a client could not be read: %s", type(error).__name__)
        return self.last

    def start_clean(self) -> Points:
        """Begin anew, in a forked child; returns what remains of what was before."""
        self._attempts.forget()
        left, self.last = left_by(self.last), {}
        return left


class Exports:
    """The instruments on one meter provider, and the clients that are read for them.

    An SDK makes an instrument once and keeps it for ever, and of a second one of that name it asks only the first. So
    the instruments are shared by all clients, and numbers that have the same attributes are summed.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("eventpipe", library_version())
        create = {
            "counter": meter.create_observable_counter,
            "up_down_counter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        # Swapped as one, so that who collects in another thread sees each client once.
        self._state: tuple[tuple[Source, ...], Points] = ((), {})
        self._changing = threading.Lock()
        self._turn = _Turn()
        self._instruments = [
            create[measure.kind](
                measure.name,
                callbacks=[partial(self._observe, measure.name)],
                unit=measure.unit,
                description=measure.meaning,
            )
            for measure in MEASURES
        ]
        histogram = partial(meter.create_histogram, unit="s", explicit_bucket_boundaries_advisory=BUCKETS)
        self._durations = histogram("eventpipe.send.duration", description="How long an attempt took.")
        self._operations = histogram(
            "messaging.client.operation.duration",
            description="Duration of messaging operation initiated by a producer or consumer client.",
        )

    @classmethod
    def on(cls, provider: MeterProvider | None) -> Exports:
        """Those on ``provider``; ``None`` means the global one, also where that is set later."""
        current = get_meter_provider()
        key = current if provider is None else provider
        found = _exports.get(key)
        if found is None and key is current:
            # What answered until a provider was set has handed all instruments over to it.
            found = next((exports for early, exports in _exports.items() if _is_stand_in(early)), None)
        if found is None:
            found = cls(key)
        _exports[key] = found
        return found

    def attempts(self, attributes: Mapping[str, Value]) -> Attempts:
        """What records the attempts of one client, in the histograms that all share."""
        return Attempts(self._durations, self._operations, attributes)

    def add(self, source: Source) -> None:
        """Read ``source`` from now on."""
        with self._changing:
            sources, ended = self._state
            self._state = ((*sources, source), ended)

    def remove(self, source: Source) -> None:
        """Read ``source`` once more and then never again; its counters stay, because a counter may not go back."""
        left = left_by(source.points())
        with self._changing:
            sources, ended = self._state
            self._state = (tuple(one for one in sources if one is not source), joined((ended, left)))

    def start_clean(self) -> None:
        """In a forked child the clients begin to count anew; what was exported before is where counters go on."""
        self._changing, self._turn = threading.Lock(), _Turn()
        sources, ended = self._state
        self._state = (sources, joined((ended, *(source.start_clean() for source in sources))))

    def _observe(self, name: str, _: CallbackOptions) -> list[Observation]:
        turn = self._turn
        if name not in turn.open:
            # A collection asks every instrument once, in its own thread: who asks again has begun another one.
            sources, ended = self._state
            turn.points = joined((ended, *(source.points() for source in sources)))
            turn.open = set(turn.points)
        turn.open.discard(name)
        return [Observation(value, dict(key)) for key, value in turn.points.pop(name).items()]


class _Turn(threading.local):
    """Where a thread is in its collection.

    Attributes:
        points: What the instruments have yet to hand out.
        open: Their names.
    """

    def __init__(self) -> None:
        self.points: Points = {}
        self.open: set[str] = set()


_exports: weakref.WeakKeyDictionary[MeterProvider, Exports] = weakref.WeakKeyDictionary()


def _is_stand_in(provider: MeterProvider) -> bool:
    """Whether it is what the API has while nobody has set a provider."""
    return type(provider).__module__.startswith("opentelemetry.metrics") and not isinstance(provider, NoOpMeterProvider)


def _start_clean() -> None:
    for exports in {id(exports): exports for exports in _exports.values()}.values():
        exports.start_clean()


os.register_at_fork(after_in_child=_start_clean)
