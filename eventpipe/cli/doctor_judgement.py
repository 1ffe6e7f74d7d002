"""What the answers of a far end mean to ``eventpipe doctor``: pure, from what was seen to what is said of it."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Iterator, Sequence

from eventpipe.cli.doctor_probe import Answer, Place, Secured, Tried
from eventpipe.cli.doctor_report import Finding, Status
from eventpipe.cli.failures import reason_of
from eventpipe.cli.text import count, duration
from eventpipe.core.retry import parse_http_date
from eventpipe.sinks.urls import follow, is_loopback, shown_url

DAY = 86_400.0
EXPIRES_SOON = 14 * DAY  # half of the time in which certificates of 90 days are commonly renewed
SKEW_WARNING = 5.0  # seconds: events seem to come from the future, or late
SKEW_FAILURE = 300.0  # seconds: receivers of signed webhooks refuse what is older

_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_… of OpenSSL
_STRANGERS = frozenset({18, 19, 20, 21})
_OTHER_HOST = frozenset({62, 64})
_NOT_IMPLEMENTED = 501
_TOO_MANY = 429


def judge_address(place: Place, *, allow_insecure: bool) -> Finding:
    """Whether what is sent there can be read on the way."""
    shown = shown_url(place.url)
    if place.is_encrypted:
        return Finding("address", Status.OK, f"{shown}, by https")
    if is_loopback(place.host):
        return Finding("address", Status.OK, f"{shown}, by plain http on this machine")
    found = f"{shown} is plain http to another machine: events and keys can be read on the way"
    if allow_insecure:
        return Finding("address", Status.WARNING, found, "use https where you can")
    return Finding("address", Status.FAILED, f"{found}, and HttpSink refuses it", "use https, or allow_insecure=True")


def judge_names(place: Place, addresses: Sequence[str]) -> Finding:
    """Which addresses a name has."""
    if list(addresses) == [place.host]:
        return Finding("name", Status.OK, f"{place.host} is an address")
    return Finding("name", Status.OK, f"{place.host} is {', '.join(addresses)}")


def judge_no_name(place: Place, error: OSError) -> Finding:
    """Why a name has none."""
    if getattr(error, "errno", None) == socket.EAI_AGAIN:
        return Finding(
            "name", Status.FAILED, f"no name server said what {place.host} is", "check the network and its resolver"
        )
    return Finding("name", Status.FAILED, f"there is no host {place.host}", "check the URL")


def judge_connections(place: Place, tried: Sequence[Tried]) -> Finding:
    """Whether somebody listens at any of the addresses, and at all."""
    reached = [one for one in tried if not one.problem]
    failed = ", ".join(f"{one.address}: {one.problem}" for one in tried if one.problem)
    if not reached:
        return Finding(
            "connection",
            Status.FAILED,
            f"nobody can be reached at port {place.port} ({failed})",
            "check the port, that the far end runs, and firewalls on the way",
        )
    found = f"{reached[0].address} port {place.port} in {duration(reached[0].seconds)}"
    if failed:
        return Finding(
            "connection", Status.WARNING, f"{found}, but not {failed}", "each new connection may try that one first"
        )
    return Finding("connection", Status.OK, found)


def judge_tls(secured: Secured, now: float) -> Finding:
    """How long a certificate that is valid stays so."""
    left = secured.expires - now
    found = f"{secured.version}, a valid certificate that expires in {_days(left)}"
    if left < EXPIRES_SOON:
        return Finding("tls", Status.WARNING, found, "see to it that it is renewed there")
    return Finding("tls", Status.OK, found)


def judge_no_tls(place: Place, error: OSError) -> Finding:
    """Why TLS was not agreed on."""
    if isinstance(error, ssl.SSLCertVerificationError):
        found, advice = error.verify_message.rstrip("."), "check the certificate there"
        if error.verify_code == _EXPIRED:
            advice = "renew it there, or set this machine's clock if that is ahead"
        elif error.verify_code == _NOT_YET:
            advice = "set this machine's clock if that is behind"
        elif error.verify_code in _STRANGERS:
            advice = "give SSL_CERT_FILE the authority's certificate, or HttpSink an ssl= that knows it"
        elif error.verify_code in _OTHER_HOST:
            advice = "use a name that the certificate is for, or have one made for this name"
        return Finding("tls", Status.FAILED, f"the certificate is refused: {found}", advice)
    if isinstance(error, ssl.SSLError):
        why = (error.reason or "it was refused").lower().replace("_", " ")
        advice = "check that this port speaks TLS, version 1.2 or newer"
        return Finding("tls", Status.FAILED, f"no TLS with {place.host}: {why}", advice)
    why = "it hung up" if isinstance(error, ConnectionError) else reason_of(error)
    return Finding("tls", Status.FAILED, f"no TLS with {place.host}: {why}", "check that this port speaks TLS")


def judge_answer(place: Place, answer: Answer) -> Finding:
    """Whether there is HTTP; which status a HEAD gets matters little where events are POSTed."""
    status, took = answer.status, duration(max(0.0, answer.answered - answer.asked))
    found = f"it answers HEAD with {status} in {took}"
    if 300 <= status < 400:
        return _judge_redirect(place, found, answer.headers.get("location"))
    if status == _TOO_MANY or (status >= 500 and status != _NOT_IMPLEMENTED):
        advice = "look there, or at what is before it; a client would try again"
        return Finding("http", Status.WARNING, found, advice)
    return Finding("http", Status.OK, found)


def _judge_redirect(place: Place, found: str, location: str | None) -> Finding:
    target = shown_url(location) if location and "://" in location else "elsewhere"
    if location and follow(place.url, location) is not None:
        return Finding("http", Status.OK, f"{found}, a redirect within it, which is followed")
    advice = "use the address that it leads to: keys and events are not sent on to another one"
    return Finding("http", Status.WARNING, f"{found}, a redirect to {target}", advice)


def judge_clock(answer: Answer) -> Finding:
    """How far this machine's clock is from the far end's, as its Date header tells to the second."""
    date = parse_http_date(answer.headers.get("date"), answer.asked)
    if date is None:
        return Finding("clock", Status.UNKNOWN, "its answer has no date to compare with")
    # The far end's clock was between date and a second later, at a moment between question and answer.
    ahead = max(0.0, answer.asked - (date + 1.0))
    behind = max(0.0, date - answer.answered)
    skew = max(ahead, behind)
    if skew <= SKEW_WARNING:
        return Finding("clock", Status.OK, f"within {max(1, math.ceil(skew)):g} s of the far end's")
    found = f"this clock is {duration(skew)} {'ahead of' if ahead else 'behind'} the far end's"
    if skew > SKEW_FAILURE:
        return Finding(
            "clock", Status.FAILED, f"{found}: signed webhooks are refused", "set the clock, by NTP for instance"
        )
    return Finding("clock", Status.WARNING, found, "set the clock, by NTP for instance")


def no_key_here() -> Finding:
    """A key that is kept where it is."""
    return Finding("key", Status.UNKNOWN, "no key is sent where it can be read on the way")


def after(check: str, name: str) -> Finding:
    """A check that another one, which failed, leaves nothing to look at."""
    return Finding(name, Status.UNKNOWN, f"there is nothing to look at before {check} is mended")


def overdue(check: str, timeout: float, advice: str) -> Finding:
    """A check that ran out of time."""
    return Finding(check, Status.FAILED, f"no answer within {timeout:g} s", advice)


def _days(seconds: float) -> str:
    return count(int(seconds // DAY), "day")


def skipped(names: Sequence[str], check: str) -> Iterator[Finding]:
    """All checks that come to nothing because ``check`` failed."""
    for name in names:
        yield after(check, name)
