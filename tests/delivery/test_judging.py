"""What the answer of a far end means for a delivery."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from eventpipe.codecs.base import error_for
from eventpipe.delivery.judging import judge
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.errors import PermanentSinkError, Scope, SinkError, TransientSinkError
from eventpipe.stores.delivery_values import EndpointKind
from eventpipe.testing.events import make_event
from eventpipe.transport.attempt import Answer

RETRY, REJECTED, GONE = DeliveryOutcome.RETRY, DeliveryOutcome.REJECTED, DeliveryOutcome.GONE
KINDS = get_args(EndpointKind)
EVENT = make_event()


def failed(error: SinkError) -> Answer:
    return Answer(again=(EVENT,), error=error)


@pytest.mark.parametrize("status", range(300, 600))
def test_each_status_of_a_webhook_leads_where_it_should(status: int) -> None:
    """400, 413 and 422 refuse the event, 410 says that the endpoint is gone; all else is worth another attempt."""
    error = error_for(status, {}, now=0.0)
    assert error is not None
    judgement = judge(failed(error), "webhook")

    expected = {400: REJECTED, 413: REJECTED, 422: REJECTED, 410: GONE}.get(status, RETRY)
    assert (judgement.outcome, judgement.status) == (expected, status)
    assert str(status) in (judgement.error or "")


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_accepted_is_delivered(kind: EndpointKind) -> None:
    """With a remark or without."""
    for answer in (Answer(delivered=(EVENT,)), Answer(remarked={("warning", "odd"): (EVENT,)})):
        assert judge(answer, kind) == (DeliveryOutcome.DELIVERED, None, None, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("detail", "error"), [("no such user", "no such user"), (None, "rejected")])
def test_what_was_dropped_is_rejected(kind: EndpointKind, detail: str | None, error: str) -> None:
    """In the far end's words, or else by its reason."""
    answer = Answer(dropped={("rejected", detail): (EVENT,)})

    assert judge(answer, kind) == (REJECTED, None, error, None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_pass_is_attempted_again(kind: EndpointKind) -> None:
    """When the far end says, if it does."""
    error = TransientSinkError("busy", retry_after=7, status=503)

    assert judge(failed(error), kind) == (RETRY, 503, "busy", 7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", get_args(Scope))
def test_a_permanent_error_of_a_sink_fails_unless_it_can_be_mended(kind: EndpointKind, scope: Scope) -> None:
    """A configuration that is wrong is mended while the delivery waits; the event stays what it is."""
    judgement = judge(failed(PermanentSinkError("no", scope=scope)), kind)

    assert judgement.outcome is (RETRY if scope == "sink" else REJECTED)


@pytest.mark.parametrize("status", [400, 410, 404])
def test_a_status_of_another_sink_is_the_sinks_to_judge(status: int) -> None:
    """It said by the scope of its error what that means."""
    assert judge(failed(PermanentSinkError("no", scope="sink", status=status)), "sink").outcome is RETRY
    assert judge(failed(PermanentSinkError("no", scope="batch", status=status)), "sink").outcome is REJECTED


class OddError(TransientSinkError):
    def __str__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TransientSinkError("half a \ud83d pair"), "half a ? pair"),
        (OddError("x"), "OddError"),
        (TransientSinkError(""), "TransientSinkError"),
    ],
    ids=["lone surrogate", "raises", "empty"],
)
def test_whatever_a_sink_says_can_be_kept(error: SinkError, text: str) -> None:
    """Text that no store can write, or no text at all, would leave the row where it is for ever."""
    assert judge(failed(error), "sink") == (RETRY, None, text, None)


@pytest.mark.parametrize("status", [10**30, -1, 0, "503", True, 1000])
def test_a_status_that_is_none_is_not_kept(status: Any) -> None:
    """No column would take it."""
    error = TransientSinkError("odd")
    error.status = status

    assert judge(failed(error), "sink").status is None
