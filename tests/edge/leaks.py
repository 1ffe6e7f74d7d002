"""The secrets that the tests of this folder send with, and a watch for every text that may show them."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

# Characters that base64, URLs and JSON each write differently.
KEY = "k7/Qz+9%Sx=phc_never_shown&tail"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"Zq8 a webhook's secret of 32 by.").decode()
PAYLOAD = "payload-5f0c-never-shown"
"""In every event that is sent here."""
PATH = f"/in?token={quote(KEY, safe='')}"
"""Of every URL that is sent to here."""


def forms(secret: str) -> set[str]:
    """A secret as it may be found in a text: itself, what encodings make of it, and its first eight characters."""
    raw = secret.encode()
    found = {secret, secret[:8], quote(secret), quote(secret, safe=""), quote_plus(secret), raw.hex()}
    for before in (b"", b" ", b":"):  # base64 differs with what stands before
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(before + raw + b":").decode()
            found |= {encoded[4:24], encode(before + raw).decode()}
    return found


FORMS = forms(KEY) | forms(WEBHOOK_SECRET)
LOGGERS = ("", "eventpipe", "aiohttp", "aiohttp.client", "aiohttp.internal", "asyncio")


class LeakError(AssertionError):
    """A secret was shown; says where, and not what."""


class Watch(logging.Handler):
    """Keeps every text that somebody might read: log lines of all levels, and what it is shown.

    Attributes:
        lines: Log lines, as a formatter writes them, tracebacks included.
        texts: By where it was found.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.lines: list[tuple[str, str]] = []
        self.texts: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a log line, and what a handler that writes every field would show."""
        self.lines.append((record.name, f"{self.format(record)} {record.args!r}"))

    def see(self, what: object) -> None:
        """Keep all that ``what`` shows of itself: ``repr``, ``str``, ``format``, and its pickle where it has one."""
        kind = type(what).__name__
        number = len(self.texts)
        self.texts[f"{number} repr of {kind}"] = repr(what)
        self.texts[f"{number} str of {kind}"] = f"{what!s} {what:}"
        try:
            pickled = pickle.dumps(what)
        except Exception as exc:  # noqa: BLE001  # what cannot be pickled shows nothing that way, but in its error
            self.texts[f"{number} error of pickling {kind}"] = f"{exc!r} {exc}"
        else:
            self.texts[f"{number} pickle of {kind}"] = pickled.decode("latin-1")
        if isinstance(what, BaseException):
            self.see_error(what)

    def see_error(self, error: BaseException) -> None:
        """Keep a traceback with all that it was raised from, alone and in a group."""
        number = len(self.texts)
        self.texts[f"{number} traceback of {type(error).__name__}"] = "".join(traceback.format_exception(error))
        group = BaseExceptionGroup("group", [error])
        self.texts[f"{number} group of {type(error).__name__}"] = (
            f"{group!r} {''.join(traceback.format_exception(group))}"
        )
        self.texts[f"{number} arguments of {type(error).__name__}"] = repr((error.args, vars(error)))

    def found(self) -> list[str]:
        """Where a secret is shown."""
        lines = {f"line {number} of {name}": text for number, (name, text) in enumerate(self.lines)}
        return [place for place, text in (lines | self.texts).items() if any(form in text for form in FORMS)]

    def check(self) -> None:
        """See that no secret is shown.

        Raises:
            LeakError: One is.
        """
        if places := self.found():
            raise LeakError("a secret is shown in: " + "; ".join(places[:10]))

    def forget(self) -> None:
        """Drop all that was kept."""
        self.lines.clear()
        self.texts.clear()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear every logger, at every level."""
        loggers = [logging.getLogger(name) for name in LOGGERS]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(1)
        loggers[0].addHandler(self)
        try:
            yield
        finally:
            loggers[0].removeHandler(self)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
