"""URLs of far ends: checked, shown without their secrets, joined, and compared by origin."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urljoin, urlsplit

_DEFAULT_PORT = {"http": 80, "https": 443}
_SHOWN = 80  # characters of a host that a message shows at most


def check_url(option: str, url: object, *, allow_insecure: bool) -> str:
    """Refuse what is no address that events may be sent to.

    Args:
        option: Its name, for the message.
        url: Must be absolute, http or https, and without credentials.
        allow_insecure: Whether plain http may leave this machine.

    Returns:
        The URL without surrounding space and fragment.

    Raises:
        ValueError: Names the option, the value without its secrets, and the rule.
    """

    def refuse(rule: str) -> ValueError:
        return ValueError(f"{option} {rule}, not {shown_url(url)!r}")

    if not isinstance(url, str) or not url.strip():
        raise refuse("must be a string such as 'https://collector.example/batch'")
    url = url.strip()
    if not url.isprintable() or " " in url:
        raise refuse("must not have spaces, line breaks or control characters")
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise refuse("must have a valid host and a port from 1 to 65535") from None
    if split.scheme not in _DEFAULT_PORT:
        raise refuse("must begin with http:// or https://")
    if "@" in split.netloc:
        raise refuse("must not carry credentials (pass them in headers)")
    if not split.hostname or port == 0:
        raise refuse("must have a valid host and a port from 1 to 65535")
    if split.scheme == "http" and not allow_insecure and not is_loopback(split.hostname):
        raise refuse("must begin with https:// (plain http needs a loopback host, or allow_insecure=True)")
    return split._replace(fragment="").geturl()


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine: ``localhost``, 127.0.0.0/8 or ``::1``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_url(url: object) -> str:
    """What a message may show of a URL: scheme, host and port; paths and queries carry tokens too."""
    if not isinstance(url, str):
        return type(url).__name__
    scheme, found, rest = url.strip().partition("://")
    if not found:
        scheme, rest = "", scheme
    end = min((rest.index(mark) for mark in "/?#\\" if mark in rest), default=len(rest))
    host = rest[:end].rpartition("@")[2][:_SHOWN]
    return f"{scheme[:_SHOWN]}{found}{host}{'/…' if rest[end:].strip('/') else ''}"


def join_url(base: str, relative: str) -> str:
    """Put a codec's URL after the sink's.

    Args:
        base: The sink's.
        relative: A path, which is put after that of ``base``, with or without a query, which takes the place of
            that of ``base``; ``""`` means ``base`` as it is.

    Raises:
        ValueError: ``relative`` leads to another origin.
    """
    if not relative:
        return base
    split, onto = urlsplit(relative), urlsplit(base)
    if split.scheme or split.netloc:
        raise ValueError(f"a codec must name a path, not {shown_url(relative)!r}")
    path = f"{onto.path.rstrip('/')}/{split.path.lstrip('/')}" if split.path else onto.path
    return onto._replace(path=path, query=split.query or onto.query).geturl()


def follow(url: str, location: str | None) -> str | None:
    """Where a redirect leads, if that is the same origin; ``None`` for anywhere else.

    Credentials in ``location`` count as elsewhere: the client would send them.
    """
    if not location:
        return None
    try:
        target = urlsplit(urljoin(url, location))
        if "@" in target.netloc or _origin(target) != _origin(urlsplit(url)):
            return None
    except ValueError:
        return None
    return target._replace(fragment="").geturl()


def _origin(split: SplitResult) -> tuple[str, str, int | None]:
    return split.scheme, (split.hostname or "").lower(), split.port or _DEFAULT_PORT.get(split.scheme)
