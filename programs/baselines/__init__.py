"""Programs that are there only for comparison."""
