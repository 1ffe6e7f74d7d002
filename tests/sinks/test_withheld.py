"""Details of verdicts that repeat a header or the URL of their sink."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict
from eventpipe.sinks.withheld import WITHHELD, without_secrets

TOKEN = "tok+/en-0123456789"
URL = "https://collector.example/analytics"
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

    assert without_secrets([verdict(f"bad token: {form}!"), other, DELIVERED], HEADERS, URL) == [
        verdict(WITHHELD),
        other,
        DELIVERED,
    ]


@pytest.mark.parametrize(
    "detail", [None, "Bearer", "application/json is expected", "analytics of yesterday", TOKEN[:7], ""]
)
def test_a_detail_that_repeats_none_is_shown(detail: str | None) -> None:
    """Names of schemes and of formats are nobody's secret."""
    verdicts = [verdict(detail), DELIVERED]

    assert without_secrets(verdicts, HEADERS, URL) == verdicts
    assert without_secrets(verdicts, {}, URL) == verdicts


@pytest.mark.parametrize(
    "url",
    [
        f"https://h/in/{quote(TOKEN, safe='')}/x",
        f"https://h/?a=1&token={quote(TOKEN)}",
        f"https://h/{quote(TOKEN, safe='')}",
    ],
)
def test_a_detail_that_repeats_a_key_of_the_url_is_withheld(url: str) -> None:
    """In its query, or as a long part of its path."""
    assert without_secrets([verdict(f"no such endpoint: {TOKEN}")], {}, url) == [verdict(WITHHELD)]


@pytest.mark.parametrize("password", ["p4ss", "hunter2-very-secret", "with:colon"])
def test_a_detail_that_repeats_a_password_is_withheld(password: str) -> None:
    """A Basic authorization is no secret's hiding place; the name before the colon is no secret."""
    headers = {"Authorization": f"Basic {base64.b64encode(f'somebody:{password}'.encode()).decode()}"}

    assert without_secrets([verdict(f"wrong: {password}")], headers, URL) == [verdict(WITHHELD)]
    assert without_secrets([verdict("somebody is unknown")], headers, URL) == [verdict("somebody is unknown")]
