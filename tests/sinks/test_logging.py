"""``LoggingSink`` writes one line per event and cannot be made to feed on its own lines."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest

from eventpipe.sinks import LoggingSink
from eventpipe.testing.events import make_batch, make_event

pytestmark = pytest.mark.asyncio


@pytest.fixture
def logger() -> logging.Logger:
    """A logger of its own, so that nothing else is in it."""
    logger = logging.Logger("test.events", logging.DEBUG)
    logger.propagate = False
    return logger


class Records(logging.Handler):
    """Keeps its records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def test_logs_one_line_per_event(logger: logging.Logger) -> None:
    """Each event is one record at the level asked for, whose message is the event's JSON object."""
    records = Records()
    logger.addHandler(records)
    batch = make_batch([make_event("a\nb", properties={"rate": "100 %s"}), make_event("c", key="k")])

    assert await LoggingSink(logger, logging.WARNING).send(batch) is None

    messages = [record.getMessage() for record in records.records]
    assert [orjson.loads(message)["event"] for message in messages] == ["a\nb", "c"]
    assert [orjson.loads(message).get("key") for message in messages] == [None, "k"]
    assert not any("\n" in message for message in messages)
    assert {record.levelno for record in records.records} == {logging.WARNING}


async def test_uses_a_logger_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Without a logger the lines go to ``eventpipe.events`` at INFO."""
    caplog.set_level(logging.INFO, "eventpipe.events")

    await LoggingSink().send(make_batch(2))

    assert [(record.name, record.levelno) for record in caplog.records] == [("eventpipe.events", logging.INFO)] * 2


async def test_delivers_where_the_level_is_off(logger: logging.Logger) -> None:
    """A logger that wants no such lines is a far end that takes the events and shows nothing."""
    records = Records()
    logger.addHandler(records)
    logger.setLevel(logging.ERROR)

    assert await LoggingSink(logger).send(make_batch(2)) is None
    assert records.records == []


async def test_never_feeds_on_its_own_lines(logger: logging.Logger) -> None:
    """A handler that captures records knows the sink's by their mark, so one event stays one line."""
    sink = LoggingSink(logger, name="audit")
    captured = []

    class Capturing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not hasattr(record, "eventpipe_sink"):
                captured.append(make_event(record.getMessage()))

    logger.addHandler(Capturing())
    records = Records()
    logger.addHandler(records)

    logger.info("from the program")
    while captured:
        await sink.send(make_batch([captured.pop()]))

    assert [getattr(record, "eventpipe_sink", None) for record in records.records] == [None, "audit"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"logger": "root"}, "logger must be a logging.Logger or None, not 'root'", id="a name"),
        pytest.param(
            {"logger": logging.LoggerAdapter(logging.getLogger("x"), {})},
            "logger must be a logging.Logger or None, not <LoggerAdapter",
            id="an adapter, which takes the mark away",
        ),
        pytest.param(
            {"level": "INFO"},
            "level must be a whole number of at least 1, such as logging.INFO, not 'INFO'",
            id="a word",
        ),
        pytest.param(
            {"level": 0}, "level must be a whole number of at least 1, such as logging.INFO, not 0", id="zero"
        ),
        pytest.param({"level": True}, "level must be a whole number of at least 1, .*, not True", id="a bool"),
    ],
)
async def test_refuses_bad_options(options: dict[str, Any], message: str) -> None:
    """A wrong option is a ``ValueError`` at construction."""
    with pytest.raises(ValueError, match=f"^{message}"):
        LoggingSink(**options)
