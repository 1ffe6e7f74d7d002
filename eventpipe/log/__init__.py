"""Topics, and consumers that go through them at their own pace."""

from eventpipe.log.consumer import Consumer
from eventpipe.log.consumer_options import ConsumerOptions
from eventpipe.log.delivery import Delivery
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.letters import DeadLetter
from eventpipe.log.receiver import Receiver
from eventpipe.log.reports import ConsumerError, ConsumerReport, ConsumerStatistics, Lag, PassReport
from eventpipe.log.shards import Shard, migration, shard_name, shard_of
from eventpipe.log.totals import LogStatistics

__all__ = [
    "ConsumedEvent",
    "Consumer",
    "ConsumerError",
    "ConsumerOptions",
    "ConsumerReport",
    "ConsumerStatistics",
    "DeadLetter",
    "Delivery",
    "EventLog",
    "Lag",
    "LogStatistics",
    "PassReport",
    "Receiver",
    "Shard",
    "migration",
    "shard_name",
    "shard_of",
]
