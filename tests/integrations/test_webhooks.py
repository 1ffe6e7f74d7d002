"""The receiver kit: what a dependency of FastAPI, and a function of Starlette, believes, and what it answers else."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from starlette.requests import Request

from eventpipe.codecs import HubWebhook, StandardWebhook
from eventpipe.integrations.webhooks import BODY_TIME, ReceivedWebhook, verified_webhook
from eventpipe.testing.events import make_batch
from tests.integrations.deliveries import OTHER, SECRET

HUB = "a secret of any text"
believed = verified_webhook([OTHER, SECRET])


def signed(secret: str = SECRET, age: float = 0.0) -> tuple[bytes, dict[str, str]]:
    request = StandardWebhook(secret).request(make_batch(1), 1, time.time() - age)
    return request.body, dict(request.headers)


def request_of(body: bytes, headers: dict[str, str], *, parts: int = 1, messages: list[Any] | None = None) -> Request:
    """A request whose body comes in so many parts."""
    size = max(1, -(-len(body) // parts))
    coming = [
        {"type": "http.request", "body": body[at : at + size], "more_body": at + size < len(body)}
        for at in range(0, max(1, len(body)), size)
    ]
    waiting = iter(coming if messages is None else messages)

    async def receive() -> Any:
        for message in waiting:
            return message
        return await asyncio.Event().wait()

    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": named}, receive)


async def refused(request: Request, **options: Any) -> tuple[int, str]:
    with pytest.raises(HTTPException) as caught:
        await verified_webhook(**{"secret": SECRET, **options})(request)
    return caught.value.status_code, caught.value.detail


@pytest.mark.asyncio
@pytest.mark.parametrize("parts", [1, 7])
async def test_what_is_signed_with_any_of_the_secrets_is_handed_out(parts: int) -> None:
    """Id, time and the body as it came, in however many parts that was."""
    body, headers = signed()

    for secret in (SECRET, [OTHER, SECRET], (SECRET, OTHER)):
        webhook = await verified_webhook(secret)(request_of(body, headers, parts=parts))
        assert webhook == ReceivedWebhook(headers["webhook-id"], float(headers["webhook-timestamp"]), body)
        assert webhook.json()["type"] == "e0"


@pytest.mark.asyncio
async def test_the_hub_scheme_signs_the_body_alone() -> None:
    """There is no id and no time; another secret is refused as in the other scheme."""
    made = HubWebhook(HUB).request(make_batch(1), 1, 0)
    receive = verified_webhook(HUB, scheme="hub")

    assert await receive(request_of(made.body, dict(made.headers))) == ReceivedWebhook(None, None, made.body)
    assert (await refused(request_of(made.body, dict(made.headers)), secret="other", scheme="hub"))[0] == 401
    assert (await refused(request_of(made.body, {}), secret=HUB, scheme="hub"))[0] == 400


@pytest.mark.asyncio
async def test_who_is_not_believed_learns_nothing() -> None:
    """Another secret, a changed body, an old or a future time have one answer; 400 says which header is unreadable."""
    body, headers = signed()
    foreign = signed(OTHER)
    old, future = signed(age=301), signed(age=-301)

    answers = {
        await refused(request_of(*foreign)),
        await refused(request_of(body + b" ", headers)),
        await refused(request_of(*old)),
        await refused(request_of(*future)),
    }
    assert answers == {(401, "the signature of this webhook is not to be believed")}
    assert await refused(request_of(body, {})) == (400, "webhook-id is missing")
    assert (await refused(request_of(body, {**headers, "webhook-timestamp": "now"})))[0] == 400
    old_body, old_headers = signed(age=301)
    tolerated = await verified_webhook(SECRET, tolerance=600)(request_of(old_body, old_headers))
    assert tolerated.body == old_body


@pytest.mark.asyncio
async def test_a_body_is_read_to_its_bound_and_not_beyond() -> None:
    """413 by what it says, and by what comes of it: of the parts behind the bound none is asked for."""
    body, headers = signed()
    whole = await verified_webhook(SECRET, max_body_bytes=len(body))(request_of(body, headers))
    assert whole.body == body

    parts = ({"type": "http.request", "body": b"x" * 60, "more_body": True} for _ in range(100))
    endless = request_of(b"", headers, messages=parts)  # type: ignore[arg-type]  # an iterator, to see what is left
    assert (await refused(endless, max_body_bytes=100))[0] == 413
    assert len(list(parts)) == 98
    for length in ("101", "9" * 5000):
        unread = request_of(b"", {**headers, "content-length": length}, messages=[])
        assert (await refused(unread, max_body_bytes=100))[0] == 413


@pytest.mark.asyncio
async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """408 after half a minute; 400 at once where the sender has gone."""
    began = asyncio.get_running_loop().time()
    assert (await refused(request_of(b"", {}, messages=[])))[0] == 408
    assert asyncio.get_running_loop().time() - began == pytest.approx(BODY_TIME)
    assert (await refused(request_of(b"", {}, messages=[{"type": "http.disconnect"}])))[0] == 400


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"secret": "whsec_"}, "secret must be"),
        ({"secret": []}, "secret must be"),
        ({"secret": None}, "secret must be"),
        ({"secret": [SECRET, "hidden-value"]}, r"secret\[1\] must be"),
        ({"scheme": "none"}, "scheme must be"),
        ({"tolerance": -1}, "tolerance must be"),
        ({"max_body_bytes": 0}, "max_body_bytes must be"),
        ({"max_body_bytes": True}, "max_body_bytes must be"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_when_it_is_made(options: dict[str, Any], said: str) -> None:
    """Not at the first request, and without the secret."""
    with pytest.raises(ValueError, match=said) as caught:
        verified_webhook(**{"secret": SECRET, **options})
    assert "hidden-value" not in str(caught.value)


@pytest.mark.asyncio
async def test_a_list_of_secrets_that_changes_later_changes_nothing() -> None:
    """What was checked is what is used."""
    secrets = [SECRET]
    receive = verified_webhook(secrets)
    secrets.clear()

    assert (await receive(request_of(*signed()))).id is not None


def test_fastapi_takes_it_as_a_dependency() -> None:
    """In a handler, also beside a parameter for the body; a body that is signed and no JSON is 400."""
    app = FastAPI()

    @app.post("/hooks")
    async def take(webhook: Annotated[ReceivedWebhook, Depends(believed)]) -> list[Any]:
        return [webhook.id, webhook.json()["type"]]

    @app.post("/both")
    def both(
        webhook: Annotated[ReceivedWebhook, Depends(believed)], payload: Annotated[dict[str, Any], Body()]
    ) -> bool:
        return bool(webhook.json() == payload)

    body, headers = signed()
    broken = StandardWebhook(SECRET).request(make_batch(1), 1, time.time())
    with TestClient(app, headers={"content-type": "application/json"}) as browser:
        assert browser.post("/hooks", content=body, headers=headers).json() == [headers["webhook-id"], "e0"]
        assert browser.post("/both", content=body, headers=headers).json() is True
        refusal = browser.post("/hooks", content=broken.body + b" ", headers=dict(broken.headers))
        assert (refusal.status_code, list(refusal.json())) == (401, ["detail"])
        assert "verified_webhook" not in str(app.openapi())


def test_what_is_no_json_is_400() -> None:
    """For a handler that wants it; the bytes are there all the same."""
    with pytest.raises(HTTPException) as caught:
        ReceivedWebhook("m", 0.0, b"{").json()
    assert caught.value.status_code == 400
