"""The page of each framework: its first block, run by its own command, answers its own request with an event."""

from __future__ import annotations

import re
import shlex
import shutil
import sysconfig
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

from eventpipe.cli.collector import Collector
from tests.integration.serving import serving, stored

DOCS = Path(__file__).parents[2] / "docs"
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SETTING = re.compile(r"([A-Z]+)=(\S+)")
# Beside the event of the handler; FastAPI's page comes to that later.
CAPTURES_REQUESTS = {
    "fastapi": False,
    "starlette": True,
    "litestar": True,
    "quart": True,
    "aiohttp": True,
    "django": True,
}


def first(pattern: re.Pattern[str], page: str) -> str:
    found = pattern.search((DOCS / f"{page}.md").read_text())
    assert found is not None
    return found[1]


def read(page: str) -> tuple[str, list[str], dict[str, str], list[str]]:
    """What the page installs, the command that serves the application, its environment, and the request."""
    *install, serve, _, request = first(SHELL, page).splitlines()
    words = shlex.split(serve.replace("8001", "0"))
    environment = {match[1]: match[2] for word in words if (match := SETTING.fullmatch(word))}
    return " ".join(install), words[len(environment) :], environment, shlex.split(request)


@pytest.mark.asyncio
@pytest.mark.wallclock
@pytest.mark.parametrize("page", CAPTURES_REQUESTS)
async def test_the_lines_of_a_page_lead_to_an_event(page: str, tmp_path: Path) -> None:
    """The first block as ``app.py``; the collector's own port is replaced, and no other word."""
    (tmp_path / "app.py").write_text(first(PYTHON, page))
    _, (program, *arguments), environment, (curl, *asking, url) = read(page)
    found = shutil.which(program, path=sysconfig.get_path("scripts"))
    assert (curl, found is not None) == ("curl", True)
    (tmp_path / "received").mkdir()

    async with (
        Collector(store=tmp_path / "received") as collector,
        serving(
            *([] if program == "python" else [str(found)]),
            *arguments,
            cwd=tmp_path,
            COLLECTOR_URL=f"{collector.url}/events",
            **environment,
        ) as server,
        aiohttp.ClientSession(server.address) as session,
    ):
        await server.accepts()
        parts, form = urlsplit(url), dict(zip(asking[::2], asking[1::2], strict=True)).get("-d")
        assert (parts.hostname, parts.port) == ("127.0.0.1", 8001)
        async with session.post(f"{parts.path}?{parts.query}", data=form and dict(parse_qsl(form))) as answer:
            assert answer.ok, await answer.text()

        server.signal()
        printed = await server.end()

        assert "Traceback" not in printed
        captured = [("signed_up", "u1"), ("request", None)][: 1 + CAPTURES_REQUESTS[page]]
        assert stored(tmp_path / "received") == Counter(captured)


@pytest.mark.parametrize("page", CAPTURES_REQUESTS)
def test_a_page_installs_what_its_first_block_imports(page: str) -> None:
    """Beside eventpipe and what comes with it."""
    installed, (program, *_), _, _ = read(page)

    imported = set(re.findall(r"^(?:from|import) (\w+)", first(PYTHON, page), re.MULTILINE)) - {"os", "typing"}
    needed = (imported | {program}) - {"eventpipe", "aiohttp", "python", "hypercorn"}

    assert sorted(installed.removeprefix("pip install").split()) == sorted(needed)
