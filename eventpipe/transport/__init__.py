"""From ``capture()`` to the sink: decisions in plain classes, waiting in a few."""
