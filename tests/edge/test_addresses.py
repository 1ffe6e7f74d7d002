"""Addresses that must not be sent to: refused when the sink is made, or, where a proxy is meant, ignored."""

from __future__ import annotations

import pytest

from eventpipe import OutcomeKind
from eventpipe.sinks import HttpSink
from tests.edge.conftest import Record
from tests.edge.leaks import KEY, Watch
from tests.edge.pipeline import Pipelines
from tests.edge.raw_server import RawServer
from tests.edge.rows import Row

ROW = Row.ADDRESSES
pytestmark = pytest.mark.wallclock

REFUSED = {
    "nothing": "",
    "blank": "   ",
    "no scheme": "collector.example/in",
    "no host": "https:///in",
    "only a scheme": "https://",
    "file": "file:///etc/passwd",
    "ftp": "ftp://collector.example/in",
    "gopher": "gopher://127.0.0.1:70/x",
    "data": "data:text/plain,x",
    "javascript": "javascript:alert(1)",
    "ws": "ws://collector.example/in",
    "http+unix": "http+unix://%2Ftmp%2Fx/in",
    "user and password": f"https://user:{KEY}@collector.example/in",
    "user": "https://user@collector.example/in",
    "empty user": "https://@collector.example/in",
    "plain http away from here": "http://collector.example/in",
    "plain http that looks like here": "http://localhost.evil.example/in",
    "plain http to 127.0.0.1.evil.example": "http://127.0.0.1.evil.example/in",
    "port 0": "https://collector.example:0/in",
    "port 65536": "https://collector.example:65536/in",
    "negative port": "https://collector.example:-1/in",
    "port of letters": "https://collector.example:https/in",
    "port of other digits": "https://collector.example:\u0664\u0664/in",
    "two ports": "https://collector.example:1:2/in",
    "tab": "https://collector.example/\tin",
    "line break": "https://collector.example/in\nX: y",
    "NUL": "https://collector.example/\x00",
    "space": "https://collector.example/a b",
    "space in the host": "https://collector .example/in",
    "DEL": "https://collector.example/\x7f",
    "backslash in the host": "https://collector.example\\@evil.example/in",
    "hexadecimal host": "http://0x7f.1/in",
    "hexadecimal number": "http://0x7f000001/in",
    "number": "http://2130706433/in",
    "short host": "http://127.1/in",
    "octal host": "http://0177.0.0.1/in",
    "hexadecimal host, https": "https://0x7f.1/in",
    "number, https": "https://2130706433/in",
    "short host, https": "https://127.1/in",
    "octal host, https": "https://0177.0.0.1/in",
    "broken IPv6": "https://[::1/in",
    "IPv6 that is none": "https://[::g]/in",
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_address_that_must_not_be_sent_to_is_refused(case: str, record: Record, watch: Watch) -> None:
    """With a ``ValueError`` when the sink is made, which shows no credentials."""
    with pytest.raises(ValueError, match=r"^url must") as caught:
        HttpSink(REFUSED[case])

    watch.see(caught.value)
    record(case, refused="at construction")


@pytest.mark.asyncio
async def test_proxies_of_the_environment_are_ignored(
    pipeline: Pipelines, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are named: everything goes straight to the far end, and the proxy hears nothing."""
    async with RawServer() as proxy, RawServer() as server:
        names = ["http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"]
        for name in names:
            monkeypatch.setenv(name, proxy.origin)
            monkeypatch.setenv(name.upper(), proxy.origin)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with pipeline(server.url) as pipe:
            outcomes = await pipe.outcomes(3)

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED] * 3
    assert (len(server.requests), proxy.peers) == (3, [])
    record("proxies of the environment", variables=2 * len(names), requests_at_the_proxy=0, delivered=3)


@pytest.mark.asyncio
async def test_netrc_is_not_read(
    pipeline: Pipelines, record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Credentials that lie about for this host are not sent to it."""
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text(f"default login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with RawServer() as server, pipeline(server.url) as pipe:
        await pipe.outcomes()

    assert "authorization" not in server.requests[0].headers
    record("a .netrc", credentials_sent=0)
