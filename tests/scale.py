"""How long tests with random input go on: ``EVENTPIPE_TEST_SCALE`` times as long as usual."""

from __future__ import annotations

import os

from hypothesis import settings

SCALE = int(os.environ.get("EVENTPIPE_TEST_SCALE", "1"))

settings.register_profile("scaled", max_examples=settings.get_profile("default").max_examples * SCALE)
if SCALE > 1:
    settings.load_profile("scaled")
