"""From the queue to the sink: decisions in plain classes, waiting in the dispatcher."""
