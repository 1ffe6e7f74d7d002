"""A Prometheus endpoint of prometheus-client itself, and what a scrape of it says."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

Key = tuple[str, frozenset[tuple[str, str]]]


@dataclass
class Scrape:
    """The samples of one scrape, by name and labels, and the kind of each name."""

    samples: Mapping[Key, float]
    kinds: Mapping[str, str]

    @classmethod
    def read(cls, text: str) -> Scrape:
        samples: dict[Key, float] = {}
        kinds: dict[str, str] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in samples, f"{key} is there twice"
                samples[key] = sample.value
                kinds[sample.name] = family.type
        return cls(samples, kinds)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}

    def labels_of(self, name: str) -> set[str]:
        """The names of the labels that any sample of ``name`` has."""
        return {label for found, labels in self.samples for label, _ in labels if found == name}

    def values(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {value for found, labels in self.samples if found == name for key, value in labels if key == label}

    def sum(self, name: str, **labels: str) -> float:
        """What ``sum(name{…})`` is in a query."""
        found = [value for (one, have), value in self.samples.items() if one == name and set(labels.items()) <= have]
        assert found, f"no sample of {name} has {labels}"
        return sum(found)

    def by(self, label: str, name: str) -> dict[str, float]:
        """What ``sum by (label) (name)`` is in a query."""
        sums: dict[str, float] = defaultdict(float)
        for (found, labels), value in self.samples.items():
            if found == name:
                sums[dict(labels)[label]] += value
        return dict(sums)


@contextmanager
def endpoint(registry: CollectorRegistry) -> Iterator[str]:
    """The address of a real endpoint, served by threads of its own."""
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def scrape(address: str) -> Scrape:
    """Ask the endpoint once, while the loop goes on."""
    return Scrape.read(await asyncio.to_thread(fetch, address))


def fetch(address: str) -> str:
    """Ask the endpoint once."""
    with urlopen(address, timeout=10) as answer:  # noqa: S310 - of our own
        text: bytes = answer.read()
    return text.decode()
