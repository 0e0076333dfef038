"""Configurations that come with the package: `divide-or-conquer run @ embedded`."""
