"""Handing on what a run made: its student, its data and the cards that say what they are."""
