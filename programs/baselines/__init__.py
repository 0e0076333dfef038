"""Programs that are only compared with."""
