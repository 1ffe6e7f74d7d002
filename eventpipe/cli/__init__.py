"""The ``eventpipe`` command, one file per subcommand."""
