"""A study file and the runs that it stands for."""
