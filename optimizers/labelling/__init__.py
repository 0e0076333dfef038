"""The teacher's calls on file, so that none is paid for twice."""
