"""The documentation runs, its tables match the code, and its links lead somewhere."""

from __future__ import annotations

import ast
import asyncio
import builtins
import importlib.util
import inspect
import logging
import re
import sys
import types
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

import eventpipe.sinks
from eventpipe import DropReason, PermanentSinkError, Statistics, TransientSinkError
from eventpipe.cli.collector import Collector
from eventpipe.codecs.base import error_for

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ANY_BLOCK = re.compile(r"^```(\S*)\n.*?^```$", re.DOTALL | re.MULTILINE)
# Addresses of the reader's own, and where on the collector they lead.
FAR_ENDS = {
    "https://collector.example/batch": "/events",
    "http://127.0.0.1:8000/events": "/events",
    "https://eu.i.posthog.com": "",
    "https://api.segment.io": "",
    "https://otlp.example": "",
}
TEST_MODULES = (DOCS / "testing.md", DOCS / "testing-your-events.md")
NOT_RUN = {"sh", "text", "console", "toml", "yaml"}


def name(path: Path) -> str:
    return path.name


def is_program(page: Path) -> bool:
    return page not in TEST_MODULES and BLOCK.search(page.read_text()) is not None


@pytest.fixture(autouse=True)
def levels(caplog: pytest.LogCaptureFixture) -> None:
    """A page that turns a logger on does so for itself: afterwards it is as it was."""
    logger = logging.getLogger("eventpipe.batches")
    caplog.set_level(logger.level, logger=logger.name)


async def run_page(page: Path, text: str) -> None:
    """Run the blocks of one page in order, in one namespace and on one loop, as a reader would type them."""
    # As a module has them: Python 3.12 looks for builtins there while it runs the body of a class.
    namespace: dict[str, object] = {"__name__": page.stem, "__builtins__": builtins}
    async with Collector() as collector:
        for block in BLOCK.finditer(text):
            code = block[1]
            for far_end, path in FAR_ENDS.items():
                code = code.replace(far_end, collector.url + path)
            lines_above = text[: block.start(1)].count("\n")
            await execute("\n" * lines_above + code, str(page), namespace)


async def execute(code: str, file: str, namespace: dict[str, object]) -> None:
    compiled = compile(code, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = types.FunctionType(compiled, namespace)()
    if inspect.isawaitable(result):
        await result


@pytest.mark.wallclock
@pytest.mark.parametrize("page", [page for page in PAGES if is_program(page)], ids=name)
def test_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every Python block of a page runs, in order, against a collector on loopback."""
    monkeypatch.chdir(tmp_path)
    for variable in ("EVENTPIPE_WORKERS", "EVENTPIPE_CLOSE_TIMEOUT", "EVENTPIPE_CONFIG"):
        monkeypatch.setenv(variable, "")  # put back afterwards, whatever the page sets

    asyncio.run(run_page(page, page.read_text()))


@pytest.mark.wallclock
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "page", ["quickstart.md", "context.md", "logging.md", "privacy.md", "processes.md", "typed-events.md"]
)
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="since Python 3.13 only a terminal can type a block there")
async def test_page_can_be_typed(page: str, tmp_path: Path) -> None:
    """Line after line into ``python -m asyncio``, as the page says, where a blank line ends a block."""
    async with Collector() as collector:
        lines = "\n".join(block[1] for block in BLOCK.finditer((DOCS / page).read_text()))
        for far_end, path in FAR_ENDS.items():
            lines = lines.replace(far_end, collector.url + path)
        shell = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "asyncio", stdin=PIPE, stdout=PIPE, stderr=STDOUT, cwd=tmp_path
        )
        async with asyncio.timeout(60):
            printed, _ = await shell.communicate(f"{lines}\nprint('all of it')\n".encode())

    assert b"all of it" in printed
    assert re.findall(rb"^\w*Error.*", printed, re.MULTILINE) == []


@pytest.mark.wallclock
@pytest.mark.parametrize("page", TEST_MODULES, ids=name)
def test_page_of_tests_passes(page: Path, pytester: pytest.Pytester) -> None:
    """The blocks of the page on testing are one module, and every test in it passes."""
    code = "".join(block[1] for block in BLOCK.finditer(page.read_text()))
    pytester.makepyfile(test_page=code)
    pytester.makepyprojecttoml("""
        [tool.pytest.ini_options]
        asyncio_default_fixture_loop_scope = "function"
        eventpipe_virtual_time = true
        filterwarnings = ["error"]
    """)

    outcome = pytester.runpytest_subprocess("-p", "no:randomly")

    outcome.assert_outcomes(passed=len(re.findall(r"^ *(?:async )?def test_", code, re.MULTILINE)))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_has_no_code_that_is_skipped(page: Path) -> None:
    """A block is Python, and runs, or is of a kind that cannot."""
    assert {block[1] for block in ANY_BLOCK.finditer(page.read_text())} <= NOT_RUN | {"python"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    """Each relative link names a file, and each anchor a heading in it."""
    broken = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)

    assert broken == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("page", "example"),
    [
        ("README.md", "fastapi_app.py"),
        ("docs/without-async.md", "script.py"),
        ("docs/starlette.md", "starlette_app.py"),
        ("docs/litestar.md", "litestar_app.py"),
        ("docs/quart.md", "quart_app.py"),
        ("docs/aiohttp.md", "aiohttp_app.py"),
        ("docs/django.md", "django_app.py"),
        ("docs/webhooks.md", "webhook_receiver.py"),
        ("docs/deliveries-http.md", "deliveries_app.py"),
        ("docs/write-a-sink.md", "line_sink.py"),
        ("docs/write-a-codec.md", "bulk_codec.py"),
        ("docs/write-a-service.md", "polling_service.py"),
    ],
)
def test_page_shows_the_example(page: str, example: str) -> None:
    """The first block of the page is the code of a file in ``examples/``, which another test runs."""
    block = BLOCK.search((ROOT / page).read_text())
    source = (ROOT / "examples" / example).read_text()
    docstring = ast.get_docstring(ast.parse(source), clean=False)

    assert block is not None
    assert source == f'"""{docstring}"""\n\n{block[1]}'


def test_readme_names_the_command_that_ci_runs() -> None:
    """``.ci/run`` and the README have the same line."""
    command = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]

    assert command in (ROOT / "README.md").read_text().splitlines()


@pytest.mark.parametrize(
    "page", ["api.md", "architecture.md", "cli.md", "configuration.md", "metrics.md", "processes.md"]
)
def test_tables_are_those_of_the_code(page: str) -> None:
    """Every option, with its default and meaning, as ``python docs/tables.py`` writes them."""
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    text = (DOCS / page).read_text()

    assert tables.render(text) == text


def first_cells(page: str, heading: str) -> list[str]:
    """The words in the first column of the table below ``heading``."""
    section = (DOCS / page).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [
        word for cell in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) for word in re.findall(r"`(\w+)`", cell)
    ]


def test_accounting_explains_every_reason_to_drop() -> None:
    """The list is closed: the page has each member of ``DropReason`` once, and no other."""
    assert sorted(first_cells("accounting.md", "Reasons to drop")) == sorted(DropReason)


def test_status_page_is_what_the_codecs_do() -> None:
    """Each status that the page names leads where its row says."""
    rows = re.findall(r"^\| (.*?) \| .* \|(.*)\|$", (DOCS / "status.md").read_text(), re.MULTILINE)
    said = {int(status): reason.strip(" `") for cell, reason in rows for status in re.findall(r"\b[345]\d\d\b", cell)}
    followed, worth_another = (307, 308), (408, 429)

    for status, reason in said.items():
        error = error_for(status, {}, now=0.0)
        if status in followed:
            assert reason == ""
        elif status in worth_another:
            assert (type(error), reason) == (TransientSinkError, "exhausted")
        else:
            assert isinstance(error, PermanentSinkError)
            assert error.reason == reason
    assert len(said) == 16


def test_accounting_explains_every_figure() -> None:
    """The page has each field of ``Statistics``."""
    page = (DOCS / "accounting.md").read_text()

    assert [field for field in Statistics.__slots__ if f"`{field}`" not in page] == []


@pytest.mark.parametrize("sink", sorted(eventpipe.sinks.__all__))
def test_sinks_page_explains_every_option(sink: str) -> None:
    """Each argument of a sink is named in its section, or above them where every sink takes it."""
    above, *sections = (DOCS / "sinks.md").read_text().split("\n## ")
    [section] = [section for section in sections if section.startswith(f"{sink}\n")]
    options = inspect.signature(getattr(eventpipe.sinks, sink)).parameters

    assert [option for option in options if not re.search(rf"`[^`]*\b{option}\b[^`]*`", above + section)] == []


@pytest.mark.parametrize("sink", ["FileSink", "HttpSink", "WebhookSink"])
def test_sinks_page_has_the_options_in_their_order(sink: str) -> None:
    """The table of a sink lists its arguments as its signature does, and no other."""
    arguments = inspect.signature(getattr(eventpipe.sinks, sink)).parameters
    section = (DOCS / "sinks.md").read_text().partition(f"\n## {sink}\n")[2]
    table = section.partition("| option |")[2].partition("\n\n")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [
        option for option in arguments if option not in ("where", "name")
    ]


def commands() -> list[tuple[str, str]]:
    """Each call of ``eventpipe`` in a shell block: the subcommand and its words."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", "\n".join(page.read_text() for page in PAGES), re.DOTALL | re.MULTILINE)
    return [call for block in blocks for call in re.findall(r"\beventpipe (\w+)(.*)", block)]


def test_shell_blocks_use_options_that_exist() -> None:
    """What a page tells a reader to type is an option of that command."""
    page = (DOCS / "cli.md").read_text()
    tables = {
        name: set(re.findall(r"`(--[\w-]+)`", body))
        for name, body in re.findall(r"<!-- (\w+) -->(.*?)<!-- end", page, re.DOTALL)
    }
    unknown = [
        (name, word)
        for name, words in commands()
        for word in re.findall(r"--[\w-]+", words)
        if word not in tables[name]
    ]

    assert commands() != []
    assert unknown == []
