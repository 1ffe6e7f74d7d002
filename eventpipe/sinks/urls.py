"""URLs of far ends: checked, shown without their secrets, joined, and compared by origin."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urljoin, urlsplit

_DEFAULT_PORT = {"http": 80, "https": 443}
_SHOWN = 80  # characters of a host that a message shows at most

# What servers and proxies take for a request line by default: nginx, Apache and aiohttp 8 KiB.
MAX_URL = 8 * 1024

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_HOST = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?")  # letters of Latin-1 too, which are sent as punycode
_MAX_HOST = 253  # RFC 1035, section 2.3.4, as text


def check_url(option: str, url: object, *, allow_insecure: bool, credentials: str = "in headers") -> str:
    """Refuse what is no address that events may be sent to.

    Args:
        option: Its name, for the message.
        url: Must be absolute, http or https, and without credentials.
        allow_insecure: Whether plain http may leave this machine.
        credentials: Where they go instead, for the message.

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
    if len(url) > MAX_URL:
        raise refuse(f"must have at most {MAX_URL} characters, which is what servers take")
    if max(url) > "\xff" or "\\" in url:
        raise refuse(
            "must not have backslashes or characters beyond Latin-1 (write them percent-encoded or as punycode)"
        )
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise refuse("must have a valid host and a port from 1 to 65535") from None
    if split.scheme not in _DEFAULT_PORT:
        raise refuse("must begin with http:// or https://")
    if "@" in split.netloc:
        raise refuse(f"must not carry credentials (pass them {credentials})")
    if not split.hostname or port == 0 or not _is_host(split.hostname, is_bracketed="[" in split.netloc):
        raise refuse("must have a valid host and a port from 1 to 65535")
    if _is_odd_number(split.hostname):
        raise refuse("must have a host that is a name, or an address as four decimal numbers")
    if split.scheme == "http" and not allow_insecure and not is_loopback(split.hostname):
        raise refuse("must begin with https:// (plain http needs a loopback host, or allow_insecure=True)")
    return split._replace(fragment="").geturl()


def _is_host(host: str, *, is_bracketed: bool) -> bool:
    if not is_bracketed:
        return len(host) <= _MAX_HOST and _HOST.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _is_odd_number(host: str) -> bool:
    """Whether ``host`` is a number in a form that only some resolvers take for an address: 127.1, 0x7f.1, 2130706433.

    Source: the URL standard's "ends in a number" check. What reads such a host decides where it leads.
    """
    if not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


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
        ValueError: ``relative`` leads to another origin, or cannot be sent.
    """
    if not relative:
        return base
    split, onto = urlsplit(relative), urlsplit(base)
    if split.scheme or split.netloc:
        raise ValueError(f"a codec must name a path, not {shown_url(relative)!r}")
    if not relative.isascii() or not relative.isprintable() or " " in relative:
        raise ValueError("a codec's path must be printable ASCII without spaces")
    path = f"{onto.path.rstrip('/')}/{split.path.lstrip('/')}" if split.path else onto.path
    return onto._replace(path=path, query=split.query or onto.query).geturl()


def follow(url: str, location: str | None) -> str | None:
    """Where a redirect leads, if that is the same origin; ``None`` for anywhere else.

    Credentials in ``location`` count as elsewhere: the client would send them.
    """
    if not location or not location.isprintable() or " " in location:  # two of them are joined by a space
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
