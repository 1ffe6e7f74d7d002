"""Measurements: what eventpipe costs, held against the least code that could do its main job."""
