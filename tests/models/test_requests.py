"""What an event that cannot be sent costs the request in which it was captured: nothing."""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import field_validator

from eventpipe import AsyncClient, DropReason, Event
from eventpipe.integrations.fastapi import Events, lifespan
from eventpipe.models import EventModel
from eventpipe.sinks import MemorySink


class SignedUp(EventModel):
    plan: Literal["free", "pro"]


class Broken(EventModel):
    plan: str

    @field_validator("plan")
    @classmethod
    def _fail(cls, plan: str) -> str:
        raise RuntimeError(plan)


def scrub(event: Event) -> Event:
    if event.event == "unscrubbed":
        raise RuntimeError("no")
    return event


def test_request_is_answered_whatever_is_wrong_with_its_events() -> None:
    """Values that do not validate, a validator that raises, and a scrubber that raises: each costs its own event."""
    sink = MemorySink()
    client = AsyncClient(sink, before_send=scrub)
    app = FastAPI(lifespan=lifespan(client))

    @app.post("/signup")
    async def signup(plan: str, events: Events) -> str:
        await events.capture(SignedUp, properties={"plan": plan})
        events.capture_nowait(Broken, properties={"plan": plan})
        await events.capture("unscrubbed", properties={"plan": plan})
        await events.capture("last")
        return "welcome"

    with TestClient(app) as browser:
        answer = browser.post("/signup", params={"plan": "gold"})

    assert (answer.status_code, answer.json()) == (200, "welcome")
    assert [event.event for event in sink.events] == ["last"]
    assert client.statistics().dropped_by_reason == {DropReason.INVALID: 2, DropReason.BEFORE_SEND: 1}
