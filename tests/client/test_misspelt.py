"""What a client says of the environment that it was made in."""

from __future__ import annotations

import pytest

from eventpipe import AsyncClient
from eventpipe.cli.settings import SECRET_VARIABLES
from eventpipe.sinks import MemorySink
from eventpipe.transport import misspelt


@pytest.fixture(autouse=True)
def _nothing_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misspelt, "_told", set())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EVENTPIPE_QUEUE_EVENT", "EVENTPIPE_QUEUE_EVENTS"),
        ("EVENTPIPE_RETRY_ATTEMPTS", "EVENTPIPE_RETRY_MAX_ATTEMPTS"),
        ("EVENTPIPE_FLUSH_INTERVAL", "EVENTPIPE_MAX_BATCH_AGE"),
    ],
)
def test_a_misspelt_variable_is_told_once(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the one that was meant, and without its value, however many clients there are."""
    monkeypatch.setenv(name, "hunter2")

    for _ in range(3):
        AsyncClient(MemorySink())

    assert caplog.messages == [f"variable {name!r} sets no option; did you mean {meant!r}?"]


@pytest.mark.parametrize(
    "name", ["EVENTPIPE_COLLECTOR_URL", "EVENTPIPE_WORKERS", "EVENTPIPE_CONFIG", *SECRET_VARIABLES]
)
def test_a_variable_of_somebody_s_own_is_nobody_s_business(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is one that something reads, a command of ours among them."""
    monkeypatch.setenv(name, "" if name == "EVENTPIPE_CONFIG" else "3")

    AsyncClient(MemorySink())

    assert caplog.messages == []
