"""How a far end is reached: by TLS, through a proxy, to a unix socket; and which of these go together."""

from __future__ import annotations

import os
import socket
import ssl as tls
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from eventpipe.sinks.headers import check_headers
from eventpipe.sinks.urls import check_url, is_loopback, shown_url

if TYPE_CHECKING:
    from collections.abc import Mapping

# What the systems' address of a unix socket holds, without the closing NUL.
MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103


class Proxy(NamedTuple):
    """What requests go through on their way.

    Attributes:
        url: Its address, without credentials.
        headers: What it is told, such as Proxy-Authorization; the far end is not.
    """

    url: str
    headers: Mapping[str, str]


def check_proxy(proxy: object, headers: object, *, url: str, session: object, allow_insecure: bool) -> Proxy | None:
    """Refuse what is no proxy, and one that would carry in plain what is not to leave this machine so.

    Args:
        proxy: An http:// or https:// URL. ``None`` means none.
        headers: What it is told. ``None`` means nothing.
        url: The far end's, checked.
        session: The lent one, or ``None``.
        allow_insecure: Whether plain http may leave this machine.

    Raises:
        ValueError: Names the option, the value without secrets, and the rule.
    """
    told = check_headers("proxy_headers", headers)
    if proxy is None:
        if told:
            raise ValueError("proxy_headers must be None where proxy is None: nobody would be told")
        return None
    if session is not None:
        raise ValueError("proxy must be None where a session is lent: give it to that session")
    checked = check_url("proxy", proxy, allow_insecure=True, credentials="in proxy_headers, as Proxy-Authorization")
    split = urlsplit(checked)
    if split.path.strip("/") or split.query:
        raise ValueError(f"proxy must have no path and no query, not {shown_url(checked)!r}")
    if (
        url.startswith("http:")
        and split.scheme == "http"
        and not allow_insecure
        and not is_loopback(split.hostname or "")
    ):
        raise ValueError(
            "proxy must begin with https:// or be on this machine where url is plain http (or pass allow_insecure=True)"
        )
    return Proxy(checked, told)


def check_socket_path(path: object, *, url: object, session: object, proxy: object, ssl: object) -> str | None:
    """Refuse what is no path of a unix socket, and what contradicts one.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if path is None:
        return None
    try:
        name = os.fspath(path)  # type: ignore[call-overload]  # whatever it is: that is the question
    except TypeError:
        name = None
    if not isinstance(name, str) or not Path(name).is_absolute() or "\0" in name:
        raise ValueError(f"socket_path must be an absolute path as a string or a Path, or None, not {path!r}")
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("socket_path must be None on this system, which has no unix sockets")
    if len(os.fsencode(name)) > MAX_SOCKET_PATH:
        raise ValueError(f"socket_path must have at most {MAX_SOCKET_PATH} bytes, not {len(os.fsencode(name))}")
    for option, value in (("session", session), ("proxy", proxy), ("ssl", ssl)):
        if value is not None:
            raise ValueError(f"{option} must be None where socket_path is given: requests go to that socket, in plain")
    if not str(url).strip().lower().startswith("http:"):
        raise ValueError(f"url must begin with http:// where socket_path is given, not {shown_url(url)!r}")
    return name


def check_tls(ssl: object, *, is_needed: bool, session: object, allow_insecure: bool) -> tls.SSLContext | None:
    """Refuse a context that would weaken TLS; choose the default where there is none.

    Args:
        ssl: The context. ``None`` means the default.
        is_needed: Whether anything is reached by https.
        session: The lent one, or ``None``.
        allow_insecure: Whether certificates may go unchecked.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if ssl is None:
        return _default_tls() if is_needed and session is None else None
    if not isinstance(ssl, tls.SSLContext):
        raise ValueError(f"ssl must be an ssl.SSLContext or None, not {type(ssl).__name__}")
    if session is not None:
        raise ValueError(
            "ssl must be None where a session is lent: that session checks certificates as its owner set it"
        )
    if ssl.minimum_version not in (tls.TLSVersion.TLSv1_2, tls.TLSVersion.TLSv1_3):
        raise ValueError(f"ssl.minimum_version must be TLSv1_2 or newer, not {ssl.minimum_version.name}")
    if ssl.verify_mode is not tls.CERT_REQUIRED and not allow_insecure:
        raise ValueError(
            f"ssl.verify_mode must be CERT_REQUIRED (or pass allow_insecure=True), not {ssl.verify_mode.name}"
        )
    if not ssl.check_hostname and not allow_insecure:
        raise ValueError(
            "ssl.check_hostname must be True (or pass allow_insecure=True), not False: "
            "anybody's valid certificate would be taken for the far end's"
        )
    return ssl


@cache
def _default_tls() -> tls.SSLContext:
    context = tls.create_default_context()
    context.minimum_version = max(context.minimum_version, tls.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["http/1.1"])
    return context
