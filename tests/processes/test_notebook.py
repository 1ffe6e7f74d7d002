"""A client in a notebook: cells of a real kernel, whose event loop goes on between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.far_end import FarEnd

pytestmark = [pytest.mark.wallclock, pytest.mark.filterwarnings("default::DeprecationWarning")]

PATIENCE = 30.0  # seconds that a cell may take, on a machine with more to do


class Notebook:
    """Cells, run one after the other."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def run(self, cell: str) -> str:
        """Run a cell to its end; returns what it printed, and its error if it had one."""
        printed: list[str] = []

        def take(message: dict[str, dict[str, str]]) -> None:
            content = message["content"]
            printed.append(content.get("text") or content.get("evalue") or "")

        self._client.execute_interactive(cell, timeout=PATIENCE, output_hook=take)
        return "".join(printed)


@pytest.fixture(scope="module")
def notebook() -> Iterator[Notebook]:
    """One for all tests; its library keeps a loop of its own for as long as the process lives."""
    manager = KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield Notebook(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        manager.context.destroy()


def test_cells_capture_flush_and_close(notebook: Notebook) -> None:
    """A client made in one cell works in the next ones, sends between them, and is closed in the last."""
    with FarEnd() as far_end:
        assert (
            notebook.run(f"""
                from eventpipe import AsyncClient
                from eventpipe.sinks import HttpSink
                client = AsyncClient(HttpSink({far_end.url!r}, compression=None), max_batch_age=0.01)
                receipt = await client.capture("first")
            """)
            == ""
        )
        assert notebook.run("print((await receipt.outcome(timeout=20)).kind)") == "delivered\n"
        assert notebook.run("client.capture_nowait('second'); print((await client.flush()).pending)") == "0\n"
        assert notebook.run("print((await client.aclose()).delivered)") == "2\n"
        assert far_end.names == ["first", "second"]


def test_the_client_for_plain_code_works_and_names_the_other(notebook: Notebook) -> None:
    """A cell runs on a loop, which a plain close holds up."""
    with FarEnd() as far_end:
        printed = notebook.run(f"""
            from eventpipe import SyncClient
            from eventpipe.sinks import HttpSink
            with SyncClient(HttpSink({far_end.url!r}, compression=None)) as client:
                client.capture("first")
        """)
        assert "use AsyncClient there" in printed
        assert far_end.names == ["first"]
