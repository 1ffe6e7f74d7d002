"""Events on disk until they are settled: a folder of files, each of one process at a time."""
