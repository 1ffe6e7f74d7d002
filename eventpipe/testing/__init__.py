"""Fakes, contracts and loops that prove a pipeline; ships with the package, imported by nothing in it."""
