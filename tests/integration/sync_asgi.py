"""The example for Django by WSGI, with its ``SyncClient``, served by ASGI."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

import examples.django_wsgi_app  # noqa: F401  # its settings and views
from eventpipe.integrations.django import with_client

application = with_client(get_asgi_application())
