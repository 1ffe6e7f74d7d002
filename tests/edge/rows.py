"""The rows of the table of hostile far ends, each with what must hold; a test module says which row it proves."""

from __future__ import annotations

from enum import StrEnum


class Row(StrEnum):
    """What a far end, a value or an address may be like."""

    BOMBS = "an answer that inflates without end"
    ENDLESS = "an answer without end"
    REDIRECTS = "a redirect to another origin"
    ODD = "an odd answer"
    RETRY_AFTER = "an odd Retry-After"
    VALUES = "a value that JSON cannot carry"
    TLS = "TLS that cannot be trusted"
    CONSTRUCTION = "characters that no header or URL may hold"
    ADDRESSES = "an address that must not be sent to"
    SECRETS = "secrets in what is shown"
    LINES = "ten thousand failures"
    RESULTS = "an answer per event that does not match"
    CUTS = "a connection cut after any byte"
    FUZZ = "random input"


GUARANTEES = {
    Row.BOMBS: "4 MiB of memory and a second at most; judged by its status",
    Row.ENDLESS: "64 KiB of a body are read; the attempt ends within 0.1 s of its timeout; other workers go on",
    Row.REDIRECTS: "0 requests there",
    Row.ODD: "a 2xx that was seen is delivered once; else the same ids again; no connection is used after an error",
    Row.RETRY_AFTER: "garbage, zero and negative count as absent, the rest ends at 300 s; nobody else waits",
    Row.VALUES: "20 of 20 neighbours arrive, in a body that is valid JSON",
    Row.TLS: "no byte of a batch leaves; the reason is tls; retries are slow",
    Row.CONSTRUCTION: "ValueError when the codec or the sink is made",
    Row.ADDRESSES: "refused when the sink is made, or ignored",
    Row.SECRETS: "0 times: the key, its encodings, its first 8 characters",
    Row.LINES: "one log line per class of error in 10 s at most, with the number that was left out",
    Row.RESULTS: "each id is settled once; unknown ids are ignored; missing ones are dropped and counted",
    Row.CUTS: "0 lost; a duplicate only where the far end had the batch before the cut",
    Row.FUZZ: "no exception but those that are documented",
}
