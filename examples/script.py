"""A script that captures an event for each line it reads: ``COLLECTOR_URL=… python -m examples.script < users.txt``."""

import os
import signal
import sys
from collections.abc import Iterable

from eventpipe import SyncClient
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")


def main(users: Iterable[str]) -> int:
    with SyncClient(HttpSink(COLLECTOR), overflow="wait") as client:  # sooner late than incomplete
        for user in users:
            client.capture("invited", distinct_id=user.strip())
    report = client.close()  # once more, for its report
    sys.stderr.write(f"{report.delivered} delivered, {report.dropped} dropped\n")
    return 0 if report else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `with` is left, which sends what is left
    sys.exit(main(sys.stdin))
