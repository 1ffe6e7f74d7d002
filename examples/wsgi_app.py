"""A WSGI application that captures events: ``COLLECTOR_URL=… gunicorn -c python:examples.wsgi_app``."""

import os
from collections.abc import Iterable
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from eventpipe import SyncClient
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")

# Made once, before gunicorn forks its workers: it starts nothing until the first capture, in each of them.
client = SyncClient(HttpSink(COLLECTOR))


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    (user,) = parse_qs(environ["QUERY_STRING"])["user"]
    client.capture("signed_up", distinct_id=user)
    start_response("204 No Content", [])
    return []


# What gunicorn reads here, beside the command line.
wsgi_app = "examples.wsgi_app:app"
workers = 2
preload_app = True


def worker_exit(server: object, worker: object) -> None:
    client.close()  # while names can still be resolved and threads started
