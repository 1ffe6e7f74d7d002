"""The fixtures in the runs of others: every plugin for async tests, in sync tests, in parallel, and under unittest."""

from __future__ import annotations

import pytest

INI = "[pytest]\nfilterwarnings = error\n"
OURS = "eventpipe.testing.plugin"
ASYNCIO = ("pytest_asyncio.plugin", OURS)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(INI)
    return pytester


def run(project: pytest.Pytester, source: str, *plugins: str, options: tuple[str, ...] = ()) -> pytest.RunResult:
    """Run a test module, with the plugins named and no other."""
    project.makepyfile(source)
    named = [option for plugin in plugins for option in ("-p", plugin)]
    return project.runpytest_subprocess(*named, "-p", "no:cacheprovider", *options)


ASYNC_TESTS = """
    import asyncio
    import pytest
    from eventpipe import AsyncClient

    @pytest.fixture(autouse=True)
    def _leaves_nothing({check}):
        pass

    {marker}
    async def test_seen(eventpipe_client, captured):
        await eventpipe_client.capture("viewed", distinct_id="u1")
        assert captured.one("viewed").distinct_id == "u1"

    {marker}
    async def test_seen_by_no_other(eventpipe_client, captured):
        await asyncio.create_task(eventpipe_client.capture("paid"))
        eventpipe_client.capture_nowait("thanked")
        await eventpipe_client.flush()
        assert captured.names == ["paid", "thanked"]

    {marker}
    async def test_never_used(eventpipe_client):
        pass

    {marker}
    async def test_closed_already(eventpipe_client, assert_captured):
        async with eventpipe_client:
            await eventpipe_client.deliver("paid")
        assert_captured("paid", times=1)

    def test_of_plain_code(eventpipe_client, captured):
        eventpipe_client.capture_nowait("viewed")
        asyncio.run(eventpipe_client.capture("awaited"))
        assert captured.names == ["viewed", "awaited"]

    def test_that_fails(eventpipe_client, assert_captured):
        eventpipe_client.capture_nowait("signed_up", properties={{"plan": "free"}})
        assert_captured("signed_up", plan="pro")
"""


@pytest.mark.parametrize(
    ("ini", "marker", "check"),
    [
        ("asyncio_mode = strict", "@pytest.mark.asyncio", "leak_check"),
        ("asyncio_mode = auto", "", "leak_check"),
        # A loop that outlives the test is taken for something that it left behind.
        ("asyncio_mode = strict\nasyncio_default_test_loop_scope = session", "@pytest.mark.asyncio", ""),
        ("asyncio_mode = strict", "@pytest.mark.asyncio(loop_scope='module')", ""),
        ("asyncio_mode = strict\neventpipe_virtual_time = true", "@pytest.mark.asyncio", "leak_check"),
    ],
    ids=["strict", "auto", "session-loop", "module-loop", "virtual-time"],
)
def test_with_pytest_asyncio(project: pytest.Pytester, ini: str, marker: str, check: str) -> None:
    """On whatever loop a test runs, its client is closed there and leaves nothing; a failure says what there was."""
    project.makeini(f"{INI}asyncio_default_fixture_loop_scope = function\n{ini}\n")

    result = run(project, ASYNC_TESTS.format(marker=marker, check=check), *ASYNCIO)

    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: no 'signed_up' with plan='pro' was captured",
            "E *the closest, number 1, differs in",
            "E * plan: 'free', expected 'pro'",
            "test_*.py:*: AssertionError",  # the line of the test, and none of this package
        ]
    )
    result.stdout.no_fnmatch_line("*eventpipe*captured.py*")


def test_with_the_plugin_of_anyio(project: pytest.Pytester) -> None:
    """Its tests and ours of pytest-asyncio share nothing but the fixtures."""
    source = "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    project.makeconftest(source)

    result = run(
        project, ASYNC_TESTS.format(marker="@pytest.mark.anyio", check="leak_check"), "anyio.pytest_plugin", OURS
    )

    result.assert_outcomes(passed=5, failed=1)


def test_with_a_fixture_that_keeps_the_runner_of_anyio(project: pytest.Pytester) -> None:
    """Its loop outlives the tests, and a client of each test ends with its test."""
    result = run(
        project,
        """
        import pytest
        pytestmark = pytest.mark.anyio

        @pytest.fixture(scope="module")
        def anyio_backend():
            return "asyncio"

        @pytest.fixture(scope="module")
        async def service():
            yield "service"

        @pytest.mark.parametrize("number", [1, 2])
        async def test_captures(service, eventpipe_client, captured, leak_check, number):
            await eventpipe_client.capture("viewed", properties={"number": number})
            captured.assert_captured("viewed", number=number, times=1)
            assert len(captured) == 1
        """,
        "anyio.pytest_plugin",
        OURS,
    )

    result.assert_outcomes(passed=2)


def test_without_any_other_plugin(project: pytest.Pytester) -> None:
    """Plain tests need nothing more, in an environment that disables all clients as well."""
    result = run(
        project,
        """
        import asyncio

        def test_plain(eventpipe_client, captured, monkeypatch):
            eventpipe_client.capture_nowait("viewed")
            assert captured.names == ["viewed"]

        def test_of_async_code(eventpipe_client, captured):
            async def code():
                async with eventpipe_client as client:
                    await client.deliver("paid")
            asyncio.run(code())
            assert captured.names == ["paid"]

        def test_loop_of_the_test(eventpipe_client, captured, leak_check):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(eventpipe_client.capture("viewed"))
            loop.run_until_complete(eventpipe_client.aclose())
            loop.close()
            assert captured.names == ["viewed"]
        """,
        OURS,
    )

    result.assert_outcomes(passed=3)


def test_disabled_by_the_environment(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of the fixture captures all the same; others do not, and a failure says so."""
    monkeypatch.setenv("EVENTPIPE_ENABLED", "false")
    result = run(
        project,
        """
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink

        def test_of_the_fixture(eventpipe_client, captured):
            eventpipe_client.capture_nowait("viewed")
            assert captured.names == ["viewed"]

        def test_of_another(captured):
            AsyncClient(MemorySink()).capture_nowait("viewed")
            captured.one("viewed")
        """,
        OURS,
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *captured by nobody, once: the client is disabled"])


def test_in_parallel(project: pytest.Pytester) -> None:
    """Each worker of xdist sees what its own process captures."""
    result = run(
        project,
        """
        import pytest
        from eventpipe import AsyncClient
        from eventpipe.sinks import HttpSink

        client = AsyncClient(HttpSink("https://collector.example/batch"))

        @pytest.mark.parametrize("number", range(20))
        def test_captures(captured, number):
            client.capture_nowait(f"viewed_{number}")
            assert captured.names == [f"viewed_{number}"]
        """,
        "xdist.plugin",
        OURS,
        options=("-n", "2"),
    )

    result.assert_outcomes(passed=20)


def test_under_unittest(project: pytest.Pytester) -> None:
    """``capturing()`` in the block of a test, and around each test of a case."""
    result = run(
        project,
        """
        import unittest
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink
        from eventpipe.testing import assert_captured, capturing

        class Plain(unittest.TestCase):
            def setUp(self):
                self.captured = self.enterContext(capturing())

            def test_in_a_block(self):
                client = AsyncClient(MemorySink())
                with capturing() as captured:
                    client.capture_nowait("viewed")
                captured.assert_captured("viewed", times=1)
                assert self.captured.names == ["viewed"]

            def test_around_a_test(self):
                AsyncClient(MemorySink()).capture_nowait("paid")
                assert_captured("paid")
                assert self.captured.names == ["paid"]

        class Async(unittest.IsolatedAsyncioTestCase):
            async def test_async(self):
                with capturing() as captured:
                    async with AsyncClient(MemorySink()) as client:
                        await client.deliver("paid")
                assert captured.names == ["paid"]
        """,
        OURS,
    )

    result.assert_outcomes(passed=3)


def test_who_does_not_ask_pays_nothing(project: pytest.Pytester) -> None:
    """Nothing of it is imported before a test asks, and afterwards other tests find all as it was."""
    result = run(
        project,
        """
        import asyncio, sys
        import pytest
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink

        def sent():
            async def code():
                async with AsyncClient(sink := MemorySink()) as client:
                    await client.capture("viewed")
                return [event.event for event in sink.events]
            return asyncio.run(code())

        def test_before():
            assert sent() == ["viewed"]
            assert not {"eventpipe.testing.captured", "eventpipe.testing.seams"} & set(sys.modules)

        def test_asks(captured):
            assert sent() == []
            assert captured.names == ["viewed"]

        def test_after():
            assert sent() == ["viewed"]
        """,
        OURS,
    )

    result.assert_outcomes(passed=3)


def test_the_leak_check_comes_last_whatever_the_order(project: pytest.Pytester) -> None:
    """A client of the fixture is closed before anybody looks for what is left."""
    project.makeini(f"{INI}asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n")
    result = run(
        project,
        """
        import pytest

        @pytest.mark.asyncio
        async def test_client_first(eventpipe_client, leak_check):
            await eventpipe_client.capture("viewed")

        @pytest.mark.asyncio
        async def test_check_first(leak_check, eventpipe_client):
            await eventpipe_client.capture("viewed")
        """,
        *ASYNCIO,
    )

    result.assert_outcomes(passed=2)


def test_with_the_client_of_plain_code(project: pytest.Pytester) -> None:
    """It has a thread of its own, which ends with the test; what it captures is seen at the call."""
    result = run(
        project,
        """
        def test_captures(eventpipe_sync_client, captured, leak_check):
            eventpipe_sync_client.capture("viewed", distinct_id="u1")
            eventpipe_sync_client.capture_nowait("thanked")
            assert captured.names == ["viewed", "thanked"]
            assert eventpipe_sync_client.flush().delivered == 2
            eventpipe_sync_client.deliver("paid")
            assert captured.names[2:] == ["paid"]

        def test_never_used(eventpipe_sync_client, leak_check):
            pass
        """,
        OURS,
    )

    result.assert_outcomes(passed=2)
