"""Far ends, one file each."""
