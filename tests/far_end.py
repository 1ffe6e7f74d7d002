"""A collector in a thread of the test, for programs that run, and end, in processes of their own."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class FarEnd:
    """Takes every batch of plain JSON that it is sent, or is mute.

    Attributes:
        url: Where it listens.
        names: Of the events that came, in the order in which they came.
        ids: Of those, as they came: one that came twice is there twice.
        people: Whom those are about, in the same order.
        said: Their properties, in the same order.
        paths: What they were sent to, in the same order.
        is_mute: It reads requests and answers none.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.ids: list[str] = []
        self.people: list[str | None] = []
        self.said: list[dict[str, object]] = []
        self.paths: list[str] = []
        self.is_mute = False
        self._ended = threading.Event()
        far_end = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                events = json.loads(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                if far_end.is_mute:
                    far_end._ended.wait(30)
                    self.close_connection = True
                    return
                far_end.names += [event["event"] for event in events]
                far_end.ids += [event["uuid"] for event in events]
                far_end.people += [event["distinct_id"] for event in events]
                far_end.said += [event["properties"] for event in events]
                far_end.paths += [self.path for _ in events]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True  # a client that keeps its connection holds nobody up

            def handle_error(self, *_: object) -> None: ...  # a process that was killed leaves its connections so

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
