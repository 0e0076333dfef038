"""A package of somebody else's that adds to ours: one file a thing, and a line each in its entry points."""
