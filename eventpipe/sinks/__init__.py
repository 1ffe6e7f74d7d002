"""Far ends, one file each."""

from eventpipe.sinks.callback import CallbackSink
from eventpipe.sinks.delivery import DeliverySink
from eventpipe.sinks.file import FileSink
from eventpipe.sinks.http import HttpSink
from eventpipe.sinks.log import LogSink
from eventpipe.sinks.logging import LoggingSink
from eventpipe.sinks.memory import MemorySink
from eventpipe.sinks.webhook import WebhookSink

__all__ = [
    "CallbackSink",
    "DeliverySink",
    "FileSink",
    "HttpSink",
    "LogSink",
    "LoggingSink",
    "MemorySink",
    "WebhookSink",
]
