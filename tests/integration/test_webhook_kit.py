"""What a reconciler and a client really send is believed by the reference library and by every form of the kit."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventpipe import AsyncClient
from eventpipe.delivery import Deliveries, DeliveryState, Endpoint, Reconciler
from eventpipe.integrations.webhooks import ReceivedWebhook, verified_webhook
from eventpipe.sinks import WebhookSink
from eventpipe.stores import MemoryStore
from tests.integrations.asgi import served

NEW = "whsec_bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3"
OLD = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"
FOREIGN = "whsec_Zm9yZWlnbmZvcmVpZ25mb3JlaWduZm9y"
HUB = "a secret of any text"

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

believed = verified_webhook([NEW, OLD])
believed_hub = verified_webhook(HUB, scheme="hub")


class Receivers:
    """One application of each form, each at its own path.

    Attributes:
        app: The application.
        taken: Path, id and sum of each webhook that was believed, in order.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, str | None, int]] = []
        self.app = FastAPI(
            routes=[
                Route("/reference", self._reference, methods=["POST"]),
                Route("/starlette", self._starlette, methods=["POST"]),
            ]
        )
        self.app.post("/fastapi")(self._fastapi)
        self.app.post("/hub")(self._hub)

    async def _reference(self, request: Request) -> Response:
        try:
            payload = Webhook(NEW).verify(await request.body(), dict(request.headers))
        except WebhookVerificationError:
            return Response(status_code=401)
        self.taken.append(("reference", request.headers["webhook-id"], payload["data"]["sum"]))
        return Response(status_code=204)

    async def _starlette(self, request: Request) -> Response:
        webhook = await believed(request)
        self.taken.append(("starlette", webhook.id, webhook.json()["data"]["sum"]))
        return JSONResponse({})

    async def _fastapi(self, webhook: Annotated[ReceivedWebhook, Depends(believed)]) -> None:
        self.taken.append(("fastapi", webhook.id, webhook.json()["data"]["sum"]))

    async def _hub(self, webhook: Annotated[ReceivedWebhook, Depends(believed_hub)]) -> None:
        self.taken.append(("hub", webhook.id, webhook.json()["data"]["sum"]))


async def test_every_receiver_believes_what_a_reconciler_sends() -> None:
    """Under the id of the event, also while a secret changes; one with a foreign secret is refused, and tried again."""
    receivers = Receivers()
    with served(receivers.app) as address:
        async with Deliveries(MemoryStore()) as deliveries:
            for name in ("reference", "starlette", "fastapi"):
                await deliveries.add_endpoint(Endpoint(name, f"{address}/{name}", OLD, allow_private=True))
                await deliveries.rotate_secret(name, NEW)  # both sign now
            await deliveries.add_endpoint(Endpoint("hub", f"{address}/hub", HUB, scheme="hub", allow_private=True))
            for name in ("reference", "starlette", "fastapi"):
                await deliveries.add_endpoint(
                    Endpoint(f"foreign-{name}", f"{address}/{name}", FOREIGN, allow_private=True)
                )
            names = [endpoint.name for endpoint in await deliveries.endpoints()]
            published = await deliveries.publish("invoice.paid", endpoints=names, properties={"sum": 5})
            report = await Reconciler(deliveries, workers=4).reconcile()
            rows = {row.endpoint: (row.state, row.last_status) for row in await deliveries.rows()}

    assert (report.succeeded, report.retried, report.errors) == (4, 3, ())
    uuid = published.event_uuid
    assert sorted(receivers.taken, key=lambda one: one[0]) == [
        ("fastapi", uuid, 5), ("hub", None, 5), ("reference", uuid, 5), ("starlette", uuid, 5),
    ]  # fmt: skip
    assert {name: state for name, state in rows.items() if name.startswith("foreign")} == dict.fromkeys(
        ("foreign-reference", "foreign-starlette", "foreign-fastapi"), (DeliveryState.SENDING, 401)
    )


async def test_every_receiver_believes_what_a_client_sends() -> None:
    """With the newer or the older of the secrets it knows; an event has its own id."""
    receivers = Receivers()
    with served(receivers.app) as address:
        sent = {}
        for name, secret in (("reference", NEW), ("starlette", OLD), ("fastapi", [FOREIGN, NEW])):
            async with AsyncClient(WebhookSink(f"{address}/{name}", secret, allow_private=True)) as client:
                sent[name] = (await client.capture("invoice.paid", properties={"sum": 5})).uuid
                report = await client.flush()
            assert (report.delivered, report.dropped) == (1, 0)

    assert receivers.taken == [(name, uuid, 5) for name, uuid in sent.items()]
