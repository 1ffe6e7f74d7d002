"""At home in what users already run; one file for each, imported by nothing else."""
