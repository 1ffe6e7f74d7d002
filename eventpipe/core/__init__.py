"""Primitives: each small, each proven alone; nothing here knows of clients, sinks or wire formats."""
