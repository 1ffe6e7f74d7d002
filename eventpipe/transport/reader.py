"""What happened since somebody looked last, for as many as look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from eventpipe.statistics import HighWater, Statistics
from eventpipe.transport.dispatcher import Dispatcher


class StatisticsReader:
    """Reads what happened since it was read last; ``AsyncClient.statistics_reader()`` makes one.

    Each reader has a last time of its own, so that one for a log line and one for a dashboard do not disturb each
    other. One reader belongs to one thread.
    """

    def __init__(self, statistics: Callable[[], Statistics], dispatchers: Callable[[], Sequence[Dispatcher]]) -> None:
        """Begin now.

        Args:
            statistics: All since the start.
            dispatchers: Who counts it; in a forked child others, which count from zero.
        """
        self._statistics = statistics
        self._find = dispatchers
        self._watch()
        self._before = statistics()

    def read(self) -> Statistics:
        """What happened since the last call, at first since the reader was made.

        Counters, mappings and histograms are differences, and ``high_water`` is that of the time between. Levels such
        as ``pending``, ``rates``, ``slowest_hook`` and ``last_success`` are those of now.
        """
        now = self._statistics()
        if self._find() is not self._dispatchers:
            self._watch()
            since = now  # all of it is new, the highest levels too
        else:
            since = _between(now - self._before, {name: watch.take() for name, watch in self._watches.items()})
        self._before = now
        return since

    def _watch(self) -> None:
        self._dispatchers = self._find()
        self._watches = {dispatcher.traits.name: dispatcher.watch() for dispatcher in self._dispatchers}


def _between(since: Statistics, high_water: Mapping[str, HighWater]) -> Statistics:
    by_sink = {name: replace(sink, high_water=high_water[name]) for name, sink in since.by_sink.items()}
    return replace(since, by_sink=by_sink, high_water=sum(high_water.values(), HighWater()))
