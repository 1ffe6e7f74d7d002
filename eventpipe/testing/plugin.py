"""The pytest plugin: fixtures for who asks for them, nothing for who does not.

pytest loads this module wherever eventpipe is installed, so it imports the rest of the kit only when a fixture is used.

Options (in the ini file of a project):
    eventpipe_virtual_time: ``true`` runs the tests of pytest-asyncio on ``VirtualTimeLoop``, except those marked
        ``wallclock``. Needs pytest-asyncio 1.4.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

try:
    import pytest_asyncio
except ImportError:
    _HAS_ASYNCIO = False
else:
    _HAS_ASYNCIO = True

if TYPE_CHECKING:
    import asyncio

    from eventpipe.client import AsyncClient
    from eventpipe.sync import SyncClient
    from eventpipe.testing.captured import Captured

# Failures of the contract suites show the values that were compared, as those of any test do.
pytest.register_assert_rewrite(
    *(
        f"eventpipe.testing.{module}"
        for module in (
            "channel_contract",
            "channel_producers",
            "channel_readers",
            "codec_answers",
            "codec_attributes",
            "codec_requests",
            "codec_secrets",
            "lease_contract",
            "service_contract",
            "sink_contract",
            "store_competing",
            "store_consumers",
            "store_contract",
            "store_parking",
            "store_retention",
            "store_returns",
            "store_topics",
        )
    )
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    parser.addini(
        "eventpipe_virtual_time", "run async tests in virtual time, except @pytest.mark.wallclock", type="bool"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Bring in virtual time where the project asks for it."""
    if config.getini("eventpipe_virtual_time"):
        config.addinivalue_line("markers", "wallclock: runs in real time, on a plain event loop")
        # Registered only now: pytest-asyncio takes a plugin that has this hook as one that answers it.
        config.pluginmanager.register(_VirtualTime(), "eventpipe_virtual_time")


class _VirtualTime:
    def pytest_asyncio_loop_factories(self, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        if item.get_closest_marker("wallclock") is not None:
            import asyncio

            return {"wallclock": asyncio.new_event_loop}
        from eventpipe.testing.loop import VirtualTimeLoop

        return {"virtual": VirtualTimeLoop}


@pytest.fixture
def leak_check(request: pytest.FixtureRequest, _leak_baseline: None) -> None:
    """Fail the test if it leaves a task, a thread or an open file behind.

    The baseline is taken before the event loop of the test is made. Tasks are compared before that loop is closed
    (tests of pytest-asyncio with a loop of their own), threads and files after. A test that failed by itself is not
    checked.
    """
    if _HAS_ASYNCIO and request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_task_leak_check")


@pytest.fixture
def _leak_baseline(request: pytest.FixtureRequest) -> Iterator[None]:
    # A fixture of its own, because one that asks for another while it runs is torn down before that other.
    from eventpipe.testing.leaks import Baseline

    failed = request.session.testsfailed
    baseline = Baseline.take()
    yield
    if request.session.testsfailed == failed:
        baseline.check()


@pytest.fixture
def captured() -> Iterator[Captured]:
    """Everything that any client of this process captures during the test; no sink is called.

    ``captured.names`` is a list, ``captured.one("signed_up")`` an event, and ``captured.assert_captured()`` says what
    there was in its place; see ``Captured``. Events are there when the call that captured them returns.
    """
    from eventpipe.testing.captured import capturing

    with capturing() as captured:
        yield captured


@pytest.fixture
def assert_captured(captured: Captured) -> Callable[..., list[Any]]:  # Any: a SeenEvent, not imported for this
    """``captured.assert_captured``, for a test that needs no more: ``assert_captured("signed_up", plan="pro")``."""
    return captured.assert_captured


@pytest.fixture
def eventpipe_client(request: pytest.FixtureRequest, captured: Captured) -> Iterator[AsyncClient]:
    """A client whose events are in ``captured`` and go nowhere; closed after the test.

    It is for sync tests as well, whose code runs a loop of its own or calls ``capture_nowait()``.
    """
    from eventpipe.testing.client import open_client

    if "leak_check" in request.fixturenames:
        request.getfixturevalue("leak_check")  # whatever their order in the signature, it looks after the close
    with open_client() as client:
        yield client


@pytest.fixture
def eventpipe_sync_client(request: pytest.FixtureRequest, captured: Captured) -> Iterator[SyncClient]:
    """A ``SyncClient`` whose events are in ``captured`` and go nowhere; closed after the test."""
    from eventpipe.testing.client import open_sync_client

    if "leak_check" in request.fixturenames:
        request.getfixturevalue("leak_check")  # as above
    with open_sync_client() as client:
        yield client


if _HAS_ASYNCIO:

    @pytest_asyncio.fixture
    async def _task_leak_check(request: pytest.FixtureRequest) -> AsyncIterator[None]:
        import asyncio

        from eventpipe.testing.leaks import Baseline, fail_on

        failed = request.session.testsfailed
        baseline = Baseline.take()
        yield
        left = baseline.tasks_left()
        for _ in range(3):  # a transport closes its socket one turn after it was told to, and aiohttp's the next
            await asyncio.sleep(0)
        if request.session.testsfailed == failed:
            fail_on(left)
