"""Every codec of the package keeps the contract, as readers see it that know nothing of the codecs."""

from __future__ import annotations

import inspect

import pytest

import eventpipe.codecs
from eventpipe.codecs import HttpCodec
from eventpipe.testing import CodecContract, CodecRig
from tests.conformance.codec_rigs import RIGS


class TestCodecs(CodecContract):
    @pytest.fixture(params=RIGS)
    def rig(self, request: pytest.FixtureRequest) -> CodecRig:
        return RIGS[request.param]()


def test_every_codec_runs_the_contract() -> None:
    """Whatever codec is exported is in a rig."""
    exported = {
        codec
        for name in eventpipe.codecs.__all__
        if inspect.isclass(codec := getattr(eventpipe.codecs, name)) and hasattr(codec, "request")
    }

    assert exported == {type(make().codec) for make in RIGS.values()}
    assert not hasattr(HttpCodec, "request")  # it is a part that codecs are made of
