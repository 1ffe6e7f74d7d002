"""Outcomes for whoever reads them: bounded, in order, with every loss shown where it happened."""

from eventpipe.subscriptions.buffer import Gap, SubscriptionOverflow
from eventpipe.subscriptions.interest import Filter, Interest
from eventpipe.subscriptions.subscription import BUFFER, MAX_BUFFER_BYTES, Subscription

__all__ = ["BUFFER", "MAX_BUFFER_BYTES", "Filter", "Gap", "Interest", "Subscription", "SubscriptionOverflow"]
