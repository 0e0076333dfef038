"""A page on loopback that lists runs, compares two, and lets one read any question; it reads files and writes none."""
