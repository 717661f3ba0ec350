"""Configs: defaults, validation, loading, and the records they describe."""
