"""Errors, specs, registries, schedules and files: the base of every package."""

from alcurr.core.errors import ERROR_CODES, FaultError, MachineError, UserError

__all__ = ["ERROR_CODES", "FaultError", "MachineError", "UserError"]
