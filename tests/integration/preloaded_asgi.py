"""The example for Django by ASGI, which captures as it is loaded: preloaded, before any worker is forked."""

from __future__ import annotations

from eventpipe.integrations.django import get_client
from examples.django_app import application

__all__ = ["application"]

for number in range(3):
    get_client().capture_nowait("loaded", distinct_id=f"loaded{number}")
