"""Which addresses a webhook may go to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.sinks.addresses import is_public

# Of each network that is not public: the first and the last address, and the public ones beside it.
EDGES = [
    ("0.0.0.0", "0.255.255.255", None, "1.0.0.0"),
    ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
    ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
    ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
    ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
    ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
    ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
    ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
    ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
    ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
    ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
    ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
    ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
    ("224.0.0.0", "239.255.255.255", "223.255.255.255", None),
    ("240.0.0.0", "255.255.255.255", None, None),
]
PRIVATE = sorted({address for first, last, _, _ in EDGES for address in (first, last)})
PUBLIC = [*sorted({address for _, _, *beside in EDGES for address in beside if address}), "8.8.8.8", "1.1.1.1"]


def standing_for(address: str) -> dict[str, str]:
    """The addresses of version 6 that stand for one of version 4."""
    value = int(IPv4Address(address))
    return {
        "mapped": f"::ffff:{address}",
        "mapped, in hex": str(IPv6Address(0xFFFF << 32 | value)),
        "nat64": str(IPv6Address((0x64FF9B << 96) | value)),
        "6to4": str(IPv6Address((0x2002 << 112) | (value << 80) | 1)),
    }


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_the_internet_s_is_not_public(address: str) -> None:
    """Each network of version 4 to its edges, and as what stands for it in version 6."""
    assert [is_public(form) for form in (address, *standing_for(address).values())] == [False] * 5


@pytest.mark.parametrize("address", PUBLIC)
def test_what_lies_beside_is_public(address: str) -> None:
    """No network is larger than it is, and what stands for a public address leads there."""
    assert [is_public(form) for form in (address, *standing_for(address).values())] == [True] * 5


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "::127.0.0.1",  # version 4, as it was once embedded
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",  # translated
        "64:ff9b:1::8.8.8.8",  # a network's own NAT64
        "100::1",  # discarded
        "1fff:ffff::",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
        "2001:2::1",  # benchmarks
        "2001:10::1",
        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
        "4000::",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",  # metadata of a cloud
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "2606:4700::1111%eth0",
        "::ffff:8.8.8.8%1",
    ],
)
def test_addresses_of_version_6_that_nobody_was_given_are_not_public(address: str) -> None:
    """Outside of global unicast, set aside inside of it, or with a zone."""
    assert is_public(address) is False


@pytest.mark.parametrize(
    "address", ["2606:4700:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2a00:1450::1", "3ffe::1", "2620:fe::9"]
)
def test_addresses_of_version_6_that_somebody_was_given_are_public(address: str) -> None:
    """Global unicast."""
    assert is_public(address) is True


@pytest.mark.parametrize(
    "text", ["", "localhost", "hooks.example", "127.1", "0x7f.1", "2130706433", "8.8.8.08", "8.8.8.8 ", "[::1]", "8.8"]
)
def test_what_is_no_address_is_not_public(text: str) -> None:
    """Other ways to write a number are not read; a resolver would read some of them."""
    assert is_public(text) is False


@given(st.ip_addresses())
def test_python_calls_no_public_address_private(address: IPv4Address | IPv6Address) -> None:
    """The judgement is at least as strict as the standard library's, apart from what stands for a public address."""
    embedding = ("::ffff:", "64:ff9b::", "2002:")
    if is_public(str(address)) and not str(address).startswith(embedding):
        assert address.is_global
        assert not address.is_multicast


@given(st.text(max_size=50))
def test_any_text_has_an_answer(text: str) -> None:
    """Nothing is raised."""
    assert is_public(text) in (True, False)
