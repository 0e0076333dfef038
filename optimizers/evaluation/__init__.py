"""Ask test questions, and tell what the answers are worth: scores, intervals, costs, leaks."""
