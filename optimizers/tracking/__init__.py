"""A job in experiment trackers: one run of its own, with a nested one for each student or trial."""
