"""Where a health endpoint is, and what it wants to be told before it answers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from eventpipe.cli.failures import UsageError
from eventpipe.cli.secrets import HEADER_VARIABLE
from eventpipe.sinks.headers import check_headers
from eventpipe.sinks.urls import check_url, is_loopback

_OPTION = f"--header, {HEADER_VARIABLE}"


def parse_address(text: str) -> str:
    """The URL of a health endpoint; ``localhost:8000/health`` gets the ``http://`` that it lacks.

    Raises:
        UsageError: It is none that can be asked.
    """
    text = text.strip()
    try:
        return check_url(
            "URL",
            text if "://" in text or not text else f"http://{text}",
            allow_insecure=True,
            credentials="as --header",
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse_headers(given: Sequence[str] | None) -> Mapping[str, str]:
    """The headers of the command line, or those of the environment, a line each.

    Args:
        given: ``["Authorization: Bearer …"]``; ``None``: none on the command line.

    Raises:
        UsageError: One is not of this form, or cannot be sent; its value is not shown.
    """
    lines = given or [line for line in os.environ.get(HEADER_VARIABLE, "").splitlines() if line.strip()]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not value.strip():
            raise UsageError(f"{_OPTION}: must be of the form 'Name: value' (what was given is not shown)")
        headers[name.strip()] = value.strip()
    try:
        return check_headers(_OPTION, headers)
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_secrecy(url: str, headers: Mapping[str, str], *, allow_insecure: bool) -> None:
    """Refuse to send headers over plain http to another machine.

    Raises:
        UsageError: They would go there, and nobody said that they may.
    """
    parts = urlsplit(url)
    if headers and parts.scheme == "http" and not (allow_insecure or is_loopback(parts.hostname or "")):
        raise UsageError("--header: plain http to another machine needs --allow-insecure; use https where you can")
