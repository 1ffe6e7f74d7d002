"""Secrets that the environment may hold, where no process list shows them."""

from __future__ import annotations

import os
from collections.abc import Sequence

KEY_VARIABLE = "EVENTPIPE_API_KEY"
SECRET_VARIABLE = "EVENTPIPE_WEBHOOK_SECRET"  # noqa: S105 - its name
HEADER_VARIABLE = "EVENTPIPE_TOP_HEADER"


def webhook_secrets(given: Sequence[str] | None) -> Sequence[str]:
    """The secrets of the command line, or those of the environment, with spaces between."""
    return given or tuple(os.environ.get(SECRET_VARIABLE, "").split())
