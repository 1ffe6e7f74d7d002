"""What a reconciler writes to the log of deliveries that fail: enough to act on, and not a line for each."""

from __future__ import annotations

import pytest

from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.errors import PermanentSinkError
from eventpipe.testing.recording import RecordingSink
from tests.delivery.test_reconciler_passes import FailingSink, add, publish

pytestmark = pytest.mark.asyncio


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was written since this was asked last: levels and texts."""
    written = [(record.levelname, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return written


async def test_deliveries_that_fail_in_one_pass_are_two_lines_for_each_endpoint(
    deliveries: Deliveries, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one with what was answered and what to do, the others as a number; and so in the next pass."""
    for name in ("acme", "audit"):
        await add(deliveries, name, FailingSink(lambda: PermanentSinkError("not today")))
    await publish(deliveries, 500, "acme")
    await publish(deliveries, 1, "audit")
    reconciler = Reconciler(deliveries, workers=1)

    assert (await reconciler.reconcile()).failed == 501
    written = lines(caplog)
    await publish(deliveries, 2, "acme")
    await reconciler.reconcile()

    assert sorted(written) == [
        ("WARNING", "499 more deliveries to endpoint acme failed"),
        ("WARNING", "delivery 1 to endpoint acme failed (rejected: not today); resend() has it made again"),
        ("WARNING", "delivery 501 to endpoint audit failed (rejected: not today); resend() has it made again"),
    ]
    assert lines(caplog) == [
        ("WARNING", "delivery 502 to endpoint acme failed (rejected: not today); resend() has it made again"),
        ("WARNING", "1 more deliveries to endpoint acme failed"),
    ]


async def test_deliveries_of_a_disabled_endpoint_are_one_line_however_many(
    deliveries: Deliveries, caplog: pytest.LogCaptureFixture
) -> None:
    """They fail page by page."""
    await add(deliveries, "acme", RecordingSink())
    await publish(deliveries, 450, "acme")
    await deliveries.disable_endpoint("acme")

    await Reconciler(deliveries, workers=1).reconcile()

    assert lines(caplog) == [("WARNING", "450 deliveries failed: endpoint acme is disabled")]
