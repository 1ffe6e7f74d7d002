"""What Django's settings say: the client, what to capture of requests, and their scope; checked, with the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from eventpipe.checked import shown
from eventpipe.client import AsyncClient
from eventpipe.integrations.django_ends import close_at_exit
from eventpipe.integrations.request_callbacks import RequestScope
from eventpipe.integrations.requests import RequestCapture, check_requests
from eventpipe.sync import SyncClient

_WORDS: Final = ("CLIENT", "REQUESTS", "SCOPE")
_AN_EXAMPLE: Final = 'EVENTPIPE = {"CLIENT": "shop.events.client"}'


def _setting() -> Mapping[str, Any]:  # Any: whatever somebody wrote there
    setting = getattr(settings, "EVENTPIPE", None)
    if setting is None:
        raise ImproperlyConfigured(f"the settings have no EVENTPIPE, which says where events go: {_AN_EXAMPLE}")
    if not isinstance(setting, Mapping):
        raise ImproperlyConfigured(f"EVENTPIPE must be a dictionary such as {_AN_EXAMPLE}, not {shown(setting)}")
    if unknown := [shown(word) for word in setting if word not in _WORDS]:
        raise ImproperlyConfigured(f"EVENTPIPE has {', '.join(unknown)}; it may have {', '.join(_WORDS)}")
    return setting


def _found(word: str) -> Any:  # Any: as above
    """One setting; a dotted path is where it is to be found."""
    value = _setting().get(word)
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise ImproperlyConfigured(f'EVENTPIPE["{word}"] names {value!r}, which cannot be imported: {error}') from error


def client_in_settings() -> AsyncClient | SyncClient:
    """The client; one that is not async is closed when the process ends.

    Raises:
        ImproperlyConfigured: There is none; the message says how to give it.
    """
    client = _found("CLIENT")
    if not isinstance(client, AsyncClient | SyncClient):
        raise ImproperlyConfigured(
            f'EVENTPIPE["CLIENT"] must be an AsyncClient or a SyncClient, or the dotted path of one, '
            f"not {shown(client)}: {_AN_EXAMPLE}"
        )
    if isinstance(client, SyncClient):
        close_at_exit(client)
    return client


def what_to_do() -> tuple[RequestCapture | None, RequestScope]:
    """What to capture of each request, and what opens its scope.

    Raises:
        ImproperlyConfigured: A setting is of another kind; the message names it.
    """
    requests, scope = _found("REQUESTS"), _found("SCOPE")
    try:
        check_requests(requests)
        return requests, RequestScope(scope)
    except TypeError as error:
        raise ImproperlyConfigured(f"EVENTPIPE is wrong: {error}") from error
