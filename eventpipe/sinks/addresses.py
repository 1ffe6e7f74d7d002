"""Which IP addresses are the public internet's: a pure judgement, the same on every version of Python."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

# Source: IANA's registries of special-purpose addresses, RFC 6890 and its successors, as of 2025. All that is not
# globally reachable is here, and of what is, relays: what they lead to is not known.
_NOT_PUBLIC: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network; 0.0.0.0 leads to this machine
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # between a provider and its customers; metadata of one cloud
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # the host below a virtual machine in one cloud, with its metadata
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocols; metadata of one cloud
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved; broadcast
        ),
    )
)
_UNICAST: Final = IPv6Network("2000::/3")  # all that is given out; outside are loopback, unique local, link-local …
_NOT_PUBLIC_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols: Teredo, ORCHID, benchmarks …
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)
# Addresses that stand for one of version 4, and by how many bits it is shifted.
_EMBEDDING: Final = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped: what a socket for both versions connects to
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)


def is_public(address: str) -> bool:
    """Whether ``address`` is one that anybody on the internet could have meant.

    Not public are: this machine, private and link-local networks, metadata of clouds, multicast, documentation, what
    is reserved, and what has a zone; an address of version 6 that stands for one of version 4 is judged by that one.

    Args:
        address: An IP address as text, without brackets; anything else is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return _is_public_4(parsed) if isinstance(parsed, IPv4Address) else _is_public_6(parsed)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    for network, shift in _EMBEDDING:
        if address in network:
            return _is_public_4(IPv4Address(int(address) >> shift & 0xFFFFFFFF))
    return address in _UNICAST and not any(address in network for network in _NOT_PUBLIC_6)
