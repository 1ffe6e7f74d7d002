"""The example for Django by WSGI, which captures as it is loaded: preloaded, before any worker is forked."""

from __future__ import annotations

from eventpipe.integrations.django import get_sync_client
from examples.django_wsgi_app import application

__all__ = ["application"]

for number in range(3):
    get_sync_client().capture("loaded", distinct_id=f"loaded{number}")
