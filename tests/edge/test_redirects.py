"""Far ends that send us elsewhere, with our events and our key."""

from __future__ import annotations

import sys

import pytest

from eventpipe import DropReason, OutcomeKind
from tests.edge.conftest import Record
from tests.edge.pipeline import Pipelines
from tests.edge.raw_server import RawServer, answer
from tests.edge.rows import Row

ROW = Row.REDIRECTS
pytestmark = [
    pytest.mark.wallclock,
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform != "linux", reason="needs more loopback addresses than one, without being root"),
]

STATUSES = [300, 301, 302, 303, 304, 305, 306, 307, 308]
# {here} and {there} are host and port of either, {port} is the port of here, where another host listens as well.
ELSEWHERE = {
    "another port": "http://{there}/",
    "another host": "http://127.0.0.2:{port}/",
    "another name of the host": "http://localhost:{port}/",
    "another scheme": "https://{here}/",
    "another scheme and port": "https://{there}/",
    "no scheme": "//{there}/",
    "no scheme, another host": "//127.0.0.2:{port}/",
    "capitals": "HTTP://{there}/",
    "capitals, same scheme": "hTtP://127.0.0.2:{port}/",
    "userinfo": "http://user:pass@{there}/",
    "userinfo, same host": "http://user:pass@{here}/",
    "userinfo like here": "http://{here}@{there}/",
    "userinfo and backslash": "http://{here}\\@{there}/",
    "userinfo and fragment": "http://{there}#@{here}/",
    "fragment like here": "http://{there}/#{here}",
    "query like here": "http://{there}?{here}",
    "leading space": " http://{there}/",
    "leading tab": "\thttp://{there}/",
    "tab within": "ht\ttp://{there}/",
    "tab in the host": "http://{here}\t@{there}/",
    "number for a host": "http://2130706434:{port}/",
    "hexadecimal host": "http://0x7f.2:{port}/",
    "short host": "http://127.2:{port}/",
    "IPv6": "http://[::1]:{port}/",
    "IPv6 of IPv4": "http://[::ffff:127.0.0.2]:{port}/",
    "a dot behind the host": "http://localhost.:{port}/",
    "no port": "http://127.0.0.1/",
    "port 0": "http://127.0.0.1:0/",
    "port out of range": "http://127.0.0.1:65536/",
    "file": "file:///etc/passwd",
    "ftp": "ftp://{there}/",
    "data": "data:text/plain,x",
    "javascript": "javascript:alert(1)",
    "nothing": "",
}

# Paths of this origin by RFC 3986, another host by what browsers make of them.
LIKE_A_HOST = {
    "backslashes": "\\\\{there}/",
    "slash and backslash": "/\\{there}/",
    "backslash and slash": "\\/{there}/",
    "three slashes": "///{there}/",
    "scheme and one slash": "http:/{there}/",
    "scheme and no slash": "http:{there}/",
    "scheme and backslashes": "http:\\\\{there}\\",
}


@pytest.mark.parametrize("form", ELSEWHERE)
async def test_nothing_goes_to_another_origin(form: str, way: str, pipeline: Pipelines, record: Record) -> None:
    """Neither events nor key, whatever the status and however the address is written; the sink is misconfigured."""
    here = RawServer()
    there = RawServer()
    async with here, there, RawServer(host="127.0.0.2", port=here.port) as beside:
        location = ELSEWHERE[form].format(
            here=f"127.0.0.1:{here.port}", there=f"127.0.0.1:{there.port}", port=here.port
        )
        async with pipeline(here.url) as pipe:
            for status in STATUSES:
                here.script(answer(status, b"", f"Location: {location}"))
                (outcome,) = await pipe.outcomes()

                assert (outcome.kind, outcome.reason) == (OutcomeKind.DROPPED, DropReason.MISCONFIGURED), status

        arrived = len(there.peers) + len(beside.peers)
        assert (arrived, len(here.requests)) == (0, len(STATUSES))
        record(form + way, requests_there=arrived, requests_here=len(here.requests), statuses=len(STATUSES))


@pytest.mark.parametrize("form", LIKE_A_HOST)
async def test_what_only_looks_like_a_host_is_a_path(form: str, pipeline: Pipelines, record: Record) -> None:
    """No part of us takes it for another host; at most it is followed here."""
    async with RawServer() as here, RawServer() as there, pipeline(here.url) as pipe:
        for status in STATUSES:
            location = LIKE_A_HOST[form].format(there=f"127.0.0.1:{there.port}")
            here.script(answer(status, b"", f"Location: {location}"))
            await pipe.outcomes()

        assert there.peers == []
        assert len(here.requests) >= len(STATUSES)
        record(form, requests_there=0, requests_here=len(here.requests), statuses=len(STATUSES))


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_would_change_the_method_is_not_followed(
    status: int, pipeline: Pipelines, record: Record
) -> None:
    """Of the same origin neither: the events would be lost on the way."""
    async with RawServer(answer(status, b"", "Location: /moved")) as here, pipeline(here.url) as pipe:
        (outcome,) = await pipe.outcomes()

        assert (outcome.kind, outcome.reason) == (OutcomeKind.DROPPED, DropReason.MISCONFIGURED)
        assert len(here.requests) == 1
        record(f"{status} within the origin", requests_here=len(here.requests))


@pytest.mark.parametrize("status", [307, 308])
async def test_redirects_end_within_the_origin_too(status: int, pipeline: Pipelines, record: Record) -> None:
    """A far end that sends us round in circles is left after five of them."""
    async with RawServer(default=answer(status, b"", "Location: /round")) as here, pipeline(here.url) as pipe:
        (outcome,) = await pipe.outcomes()

        assert (outcome.kind, outcome.reason) == (OutcomeKind.DROPPED, DropReason.MISCONFIGURED)
        assert len(here.requests) == 6
        record(f"{status} in circles", requests_here=len(here.requests))


async def test_of_two_locations_neither_leads_elsewhere(pipeline: Pipelines, record: Record) -> None:
    """The first says here, the second there, or the other way round."""
    async with RawServer() as here, RawServer() as there, pipeline(here.url) as pipe:
        for locations in (("/", f"{there.origin}/"), (f"{there.origin}/", "/")):
            here.script(answer(307, b"", *(f"Location: {location}" for location in locations)))
            await pipe.outcomes()

        assert there.peers == []
        record("two locations", requests_there=0, requests_here=len(here.requests))
