"""Webhooks for customers, and an API to look after them: ``API_TOKEN=… uvicorn examples.deliveries_app:app``."""

import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from fastapi import FastAPI

from eventpipe.delivery import Deliveries, DeliveryPolicy, Reconciler
from eventpipe.integrations.deliveries import ApiRequest, deliveries_app
from eventpipe.stores import SqliteStore

TOKEN = os.environ.get("API_TOKEN", "")  # without one, nobody gets in

# Shared with `eventpipe deliveries`. The delays are short, to be looked at: leave policy= out for those over days.
store = SqliteStore(os.environ.get("DELIVERIES_FILE", "deliveries.db"), shared=True)
deliveries = Deliveries(store, policy=DeliveryPolicy(delays=[0.5, 1, 60, 3600]))


def who(request: ApiRequest) -> Literal["write"] | None:
    given = request.headers.get("authorization", "")
    return "write" if TOKEN and hmac.compare_digest(given.encode(), f"Bearer {TOKEN}".encode()) else None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with deliveries, Reconciler(deliveries, workers=8, interval=5):
        yield


app = FastAPI(lifespan=lifespan)
# allow_private: the customer of this example is on this machine; customers of yours are not.
app.mount("/hooks", deliveries_app(deliveries, authenticate=who, allow_private=True))


@app.post("/invoices/{number}/paid")
async def paid(number: str) -> str:
    event = await deliveries.publish("invoice.paid", properties={"number": number}, dedupe_key=f"paid-{number}")
    return event.event_uuid
