"""Errors, specs, registries, schedules and files: the base of every package."""

__all__ = ()
