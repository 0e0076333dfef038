"""Everything that is read or looked at, made from files alone."""
