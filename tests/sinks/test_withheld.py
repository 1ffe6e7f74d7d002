"""Details of verdicts that repeat a header."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict
from eventpipe.sinks.withheld import WITHHELD, without_secrets

TOKEN = "tok+/en-0123456789"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}


def verdict(detail: str | None) -> Verdict:
    return Verdict(OutcomeKind.DROPPED, DropReason.REJECTED, detail=detail)


@pytest.mark.parametrize(
    "form",
    [
        TOKEN,
        f"Bearer {TOKEN}",
        TOKEN[:8],
        quote(TOKEN, safe=""),
        base64.b64encode(TOKEN.encode()).decode(),
        base64.urlsafe_b64encode(TOKEN.encode()).decode(),
    ],
)
def test_a_detail_that_repeats_a_header_is_withheld(form: str) -> None:
    """As it is, encoded, or its first eight characters; what else the verdict says stays, and so do the others."""
    other = verdict("the name is too long")

    assert without_secrets([verdict(f"bad token: {form}!"), other, DELIVERED], HEADERS) == [
        verdict(WITHHELD),
        other,
        DELIVERED,
    ]


@pytest.mark.parametrize("detail", [None, "Bearer", "application/json is expected", TOKEN[:7], ""])
def test_a_detail_that_repeats_none_is_shown(detail: str | None) -> None:
    """Names of schemes and of formats are nobody's secret."""
    verdicts = [verdict(detail), DELIVERED]

    assert without_secrets(verdicts, HEADERS) == verdicts
    assert without_secrets(verdicts, {}) is verdicts
