"""What a log line may say of an error that is not ours."""

from __future__ import annotations

import traceback
from pathlib import PurePath

_FRAMES = 4  # innermost first: enough to find the line, short enough for one


def where_raised(error: BaseException) -> str:
    """The type of ``error`` and the lines it came through, without its text: a foreign error may quote the payload."""
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_FRAMES:])
    path = ", from ".join(f"{frame.name} ({PurePath(frame.filename).name}:{frame.lineno})" for frame in frames)
    return f"{type(error).__qualname__} in {path}" if path else type(error).__qualname__
