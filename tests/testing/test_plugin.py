"""The plugin does nothing for those who do not ask, and what they ask for those who do."""

from __future__ import annotations

import subprocess
import sys

import pytest

STRICT = """
[pytest]
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(STRICT)
    return pytester


def run(project: pytest.Pytester, source: str, *plugins: str) -> pytest.RunResult:
    """Run a test module, with the plugins named and no other."""
    project.makepyfile(source)
    options = [option for plugin in plugins for option in ("-p", plugin)]
    return project.runpytest_subprocess(*options, "-p", "no:cacheprovider")


PLUGINS = ("pytest_asyncio.plugin", "eventpipe.testing.plugin")


def test_without_asking_nothing_changes(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest finds the plugin by itself; the loop is plain, and what a test leaves behind is its own affair."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    result = run(
        project,
        """
        import asyncio, pytest
        @pytest.mark.asyncio
        async def test_plain(request):
            assert not hasattr(asyncio.get_running_loop(), "steps")
            assert request.config.pluginmanager.has_plugin("eventpipe")
            assert "leak_check" not in request.fixturenames
            global left
            left = asyncio.create_task(asyncio.sleep(3600))
        """,
    )

    result.assert_outcomes(passed=1)


def test_virtual_time_is_an_option(project: pytest.Pytester) -> None:
    """Async tests run in virtual time, those marked wallclock do not, and the marker is known."""
    project.makeini(STRICT + "eventpipe_virtual_time = true\naddopts = --strict-markers\n")

    result = run(
        project,
        """
        import asyncio, pytest
        @pytest.mark.asyncio
        async def test_virtual():
            await asyncio.sleep(10**6)
            assert asyncio.get_running_loop().time() == 10**6
        @pytest.mark.asyncio
        @pytest.mark.wallclock
        async def test_real():
            assert not hasattr(asyncio.get_running_loop(), "steps")
        @pytest.mark.asyncio
        async def test_hang():
            await asyncio.Event().wait()
        """,
        *PLUGINS,
    )

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["E*DeadlockError: deadlock: every task is blocked and no timer is set", "E*test_hang (*"]
    )


def test_leak_check_fails_a_test_that_leaves_something(project: pytest.Pytester) -> None:
    """A task, a thread, a file: each is an error of the test that left it, and of no other."""
    result = run(
        project,
        """
        import asyncio, os, pytest, threading
        pytestmark = pytest.mark.usefixtures("leak_check")
        gate = threading.Event()
        @pytest.mark.asyncio
        async def test_task():
            global left
            left = asyncio.create_task(asyncio.sleep(3600), name="forgotten")
        def test_thread():
            threading.Thread(target=gate.wait, name="stuck").start()
        def test_file():
            global file
            file = os.pipe()
        @pytest.mark.asyncio
        async def test_clean():
            await asyncio.to_thread(lambda: None)
        def test_sync_and_clean():
            gate.set()
            for number in file:
                os.close(number)
            asyncio.run(asyncio.sleep(0))
        """,
        *PLUGINS,
    )

    result.assert_outcomes(passed=5, errors=3)
    result.stdout.fnmatch_lines(
        ["E *task forgotten: *", "E *thread stuck", "E *2 left behind:", "E *file *: *", "E *file *: *"]
    )


def test_leak_check_is_silent_when_the_test_failed(project: pytest.Pytester) -> None:
    """One failure, not two."""
    result = run(
        project,
        """
        import asyncio, os, pytest
        @pytest.mark.asyncio
        async def test_fails(leak_check):
            global left, file
            left, file = asyncio.create_task(asyncio.sleep(3600)), os.pipe()
            assert False
        @pytest.mark.asyncio
        async def test_leaks(leak_check):
            global left
            left = asyncio.create_task(asyncio.sleep(3600))
        """,
        *PLUGINS,
    )

    result.assert_outcomes(failed=1, passed=1, errors=1)


def test_leak_check_sees_what_other_fixtures_clean_up_as_clean(project: pytest.Pytester) -> None:
    """Whatever their order in the signature, its baseline comes first and its check last."""
    result = run(
        project,
        """
        import asyncio, pytest, pytest_asyncio
        @pytest.fixture(autouse=True)
        def _check(leak_check):
            pass
        @pytest_asyncio.fixture
        async def service():
            task = asyncio.create_task(asyncio.sleep(3600))
            yield
            task.cancel()
            await asyncio.wait({task})
        @pytest.mark.asyncio
        async def test_uses_it(service):
            pass
        """,
        *PLUGINS,
    )

    result.assert_outcomes(passed=1)


def test_works_without_pytest_asyncio(project: pytest.Pytester) -> None:
    """Threads and files are checked, there are no tasks to look at."""
    project.makeini("[pytest]\nfilterwarnings = error\n")
    project.makepyfile(without_it="import sys; sys.modules['pytest_asyncio'] = None")

    result = run(
        project,
        """
        import os
        def test_file(leak_check):
            global file
            file = os.pipe()
        def test_clean(leak_check):
            pass
        """,
        "without_it",
        "eventpipe.testing.plugin",
    )

    result.assert_outcomes(passed=2, errors=1)


def test_loading_it_loads_nothing_of_the_kit() -> None:
    """Every pytest run in the environment pays for it."""
    program = (
        "import sys, eventpipe.testing.plugin\n"
        "print(sorted(name for name in sys.modules if name.startswith('eventpipe.testing')))"
    )

    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "['eventpipe.testing', 'eventpipe.testing.plugin']"
