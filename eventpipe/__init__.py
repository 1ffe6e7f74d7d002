"""Capture events in async handlers; batches reach their sink in the background, every event accounted for."""

__version__ = "0.1.0.dev0"
