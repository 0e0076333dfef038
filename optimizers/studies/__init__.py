"""Studies: Optuna searches for better settings of a run."""
