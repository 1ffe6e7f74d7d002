"""An event as its caller describes it, turned into bytes once, whatever is in it."""

from eventpipe.encoding.encoder import Encoder, PlainEvent, dependable, make_id

__all__ = ["Encoder", "PlainEvent", "dependable", "make_id"]
