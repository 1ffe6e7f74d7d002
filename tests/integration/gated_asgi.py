"""An example's application where ``/gated`` is its ``/signup``, held up at a gate: for servers told to end meanwhile.

``APP=examples.quart_app GATE=port uvicorn tests.integration.gated_asgi:app``
"""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

_inner = importlib.import_module(os.environ["APP"]).app


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and scope["path"] == "/gated":
        reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["GATE"]))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        scope = {**scope, "path": "/signup", "raw_path": b"/signup"}
    await _inner(scope, receive, send)
