"""A client, a log and its consumers as one, from Python or from one file."""

from eventpipe.pipeline.pipeline import Pipeline
from eventpipe.pipeline.reports import ConsumerSummary, DeliverySummary, PipelineReport

__all__ = ["ConsumerSummary", "DeliverySummary", "Pipeline", "PipelineReport"]
