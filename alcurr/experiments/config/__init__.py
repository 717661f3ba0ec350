"""Configs: defaults, validation, loading, and the records they describe."""

__all__ = ["build", "defaults", "loader", "plain", "schema"]
