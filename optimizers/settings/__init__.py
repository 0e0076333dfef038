"""The configuration, one file a section, and how it is read."""
