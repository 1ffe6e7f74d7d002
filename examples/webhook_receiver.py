"""A web application that takes signed webhooks: ``WEBHOOK_SECRETS=whsec_… uvicorn examples.webhook_receiver:app``."""

import os

from fastapi import FastAPI, HTTPException, Request

from eventpipe import SignatureError
from eventpipe.codecs import verify_webhook

SECRETS = os.environ.get("WEBHOOK_SECRETS", "").split()  # two of them while one takes the place of the other

app = FastAPI()
taken: dict[str, object] = {}  # by id; in earnest a table, whose rows are kept as long as senders try again


@app.post("/hooks")
async def take(request: Request) -> None:
    try:
        verified = verify_webhook(await request.body(), request.headers, SECRETS)
    except SignatureError as error:
        raise HTTPException(401, str(error)) from error
    taken.setdefault(str(verified.id), await request.json())
