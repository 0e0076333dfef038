"""Let a student learn from what its own decompositions lead the solver to."""
