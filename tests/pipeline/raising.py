"""A module that cannot be imported."""

raise OSError("the password is hunter2")
