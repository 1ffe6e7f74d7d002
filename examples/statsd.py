"""Tells StatsD over UDP what a client counts: ``task = asyncio.create_task(statsd(client))``."""

import asyncio
import re
import socket
from contextlib import suppress

from eventpipe import AsyncClient, Statistics


def lines(since: Statistics) -> list[str]:
    told = []
    for sink, numbers in since.by_sink.items():
        counters = {name: getattr(numbers, name) for name in ("captured", "delivered", "attempts", "retries")}
        counters |= {f"dropped.{reason}": events for reason, events in numbers.dropped_by_reason.items()}
        prefix = "eventpipe." + re.sub(r"[^a-zA-Z0-9_-]", "_", sink)
        told += [f"{prefix}.{name}:{value}|c" for name, value in counters.items()]
        told += [f"{prefix}.{name}:{getattr(numbers, name)}|g" for name in ("pending", "in_flight", "queue_bytes")]
    return told


async def statsd(client: AsyncClient, host: str = "127.0.0.1", port: int = 8125, every: float = 10.0) -> None:
    told = Statistics()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        while True:
            try:
                await asyncio.sleep(every)
            finally:  # cancelled after the client was closed, it tells of the close as well
                now = client.statistics()
                for line in lines(now - told):
                    with suppress(OSError):  # nobody listens: UDP is meant to lose that
                        udp.sendto(line.encode(), (host, port))
                told = now
