"""What may leave the process, and how much of it: ready-made hooks for ``before_send``."""

from eventpipe.privacy.allow import AllowEvents, AllowProperties
from eventpipe.privacy.chaining import chain
from eventpipe.privacy.hashing import HashIds
from eventpipe.privacy.patterns import BEARER_TOKEN, CARD_NUMBER, EMAIL, IP_ADDRESS, SECRET_NAMES, Pattern
from eventpipe.privacy.sampling import Sample, SampleBy
from eventpipe.privacy.scrub import Scrub

__all__ = [
    "BEARER_TOKEN",
    "CARD_NUMBER",
    "EMAIL",
    "IP_ADDRESS",
    "SECRET_NAMES",
    "AllowEvents",
    "AllowProperties",
    "HashIds",
    "Pattern",
    "Sample",
    "SampleBy",
    "Scrub",
    "chain",
]
