"""A customer, who takes webhooks at the third attempt: ``WEBHOOK_SECRETS=… uvicorn examples.webhook_customer:app``."""

import os
from collections import Counter
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException

from eventpipe.integrations.webhooks import ReceivedWebhook, verified_webhook

SECRETS = os.environ.get("WEBHOOK_SECRETS", "").split()  # two of them while one takes the place of the other
FAILURES = 2

app = FastAPI()
believed = verified_webhook(SECRETS)
came: Counter[str] = Counter()  # by id
taken: dict[str, object] = {}  # by id; in earnest a table, whose rows are kept as long as senders try again


@app.post("/hooks")
async def take(webhook: Annotated[ReceivedWebhook, Depends(believed)]) -> None:
    came[str(webhook.id)] += 1
    if came[str(webhook.id)] <= FAILURES:
        raise HTTPException(503, "the database is down")
    taken.setdefault(str(webhook.id), webhook.json())  # each once, however often it comes


@app.get("/taken")
async def look() -> dict[str, object]:
    return {"came": came, "taken": taken}
