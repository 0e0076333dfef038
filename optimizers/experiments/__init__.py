"""Runs and experiments: who plays which role, how each student is made, what is compared."""
