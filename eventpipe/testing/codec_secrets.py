"""Scenarios of the codec contract: what a codec shows of keys and payloads."""

from __future__ import annotations

import base64
import pickle
import traceback
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

import orjson

from eventpipe.errors import SinkError
from eventpipe.events import Event
from eventpipe.testing.codec_events import batches, capture
from eventpipe.testing.events import STAMP

if TYPE_CHECKING:
    from eventpipe.events import Batch
    from eventpipe.testing.codec_rig import CodecRig

_PAYLOAD: Final = "PAYLOAD-f3b1c0a7"
_STATUSES: Final = (200, 204, 302, 400, 401, 413, 418, 429, 500, 503, 999)
_SHOWN: Final = 8  # characters of a key by which somebody could tell it


class SecretScenarios:
    """What a codec promises of its text."""

    def test_neither_keys_nor_payloads_show(self, rig: CodecRig) -> None:
        """Of a codec and of a request, which end up in debuggers, logs and error reports."""
        for batch in _batches(rig):
            request = rig.codec.request(batch, 1, STAMP)

            check_hidden(rig, repr(rig.codec), str(rig.codec), repr(request), str(request), request.url)

    def test_no_error_repeats_what_the_far_end_sent(self, rig: CodecRig) -> None:
        """A far end may echo our key or an event; of its answer only the status is told."""
        for batch in _batches(rig):
            for status in _STATUSES:
                for body in _echoes(rig, batch):
                    headers = {"location": body.decode(errors="replace"), "retry-after": _PAYLOAD}
                    error = rig.codec.response(batch, status, headers, body, True)
                    if isinstance(error, SinkError):
                        told = "".join(traceback.format_exception(error))
                        check_hidden(rig, told, repr(error), str(error.reason), repr(vars(error)))

    def test_a_pickle_has_no_key(self, rig: CodecRig) -> None:
        """It may end up in a file or a queue: a codec refuses to be pickled, or leaves its key out."""
        rig.need("secrets")
        try:
            pickled = pickle.dumps(rig.codec)
        except Exception as refusal:  # noqa: BLE001 - whatever says that it cannot be done
            check_hidden(rig, str(refusal))
            return

        check_hidden(rig, pickled.decode("latin-1"))


def check_hidden(rig: CodecRig, *texts: str) -> None:
    """Check that no text has a key, one of its usual disguises, its beginning, or a payload."""
    hidden = {_PAYLOAD, *(disguise for secret in rig.secrets for disguise in _disguises(secret))}
    for text in texts:
        shown = [len(word) for word in hidden if word in text]  # their lengths: the words would be in a report
        assert shown == [], "a key or a payload shows"


def _disguises(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode()
    return {
        secret[:_SHOWN],
        encoded.rstrip("=")[:-1],
        base64.b64encode(f"{secret}:".encode()).decode().rstrip("=")[:-1],
        quote(secret, safe=""),
        quote_plus(secret),
    }


def _batches(rig: CodecRig) -> list[Batch]:
    told = [Event(_PAYLOAD, distinct_id=_PAYLOAD, properties={_PAYLOAD: _PAYLOAD}, key=_PAYLOAD) for _ in range(2)]
    return batches(rig.codec, capture(rig.codec, told))


def _echoes(rig: CodecRig, batch: Batch) -> list[bytes]:
    said = " ".join([_PAYLOAD, *rig.secrets])
    return [
        said.encode(),
        orjson.dumps({"error": said, "error_description": said, "message": said, "detail": said, "code": 401}),
        orjson.dumps({"partialSuccess": {"rejectedLogRecords": 1, "errorMessage": said}}),
        rig.codec.request(batch, 1, STAMP).body,
    ]
