"""Optuna over the settings."""
