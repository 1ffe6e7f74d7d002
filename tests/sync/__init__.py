"""The client for plain code, in threads and processes."""
