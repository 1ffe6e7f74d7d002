"""The loggers of this package, for lines that are written in the middle of accounting."""

from __future__ import annotations

import logging
from typing import Any


class ContainedLogger(logging.LoggerAdapter[logging.Logger]):
    """Writes to a logger of the standard library, and keeps what its handlers and filters raise from the caller.

    Handlers are not ours, and one that raises would leave events booked by half, or end a worker.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # Any: as logging has them
        """Write one line; where that fails there is none."""
        try:
            super().log(level, msg, *args, stacklevel=2, **kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001, S110  # there is nowhere to say so: a log line is what failed
            pass


def contained_logger(name: str) -> ContainedLogger:
    """The logger of that name, contained."""
    return ContainedLogger(logging.getLogger(name))
