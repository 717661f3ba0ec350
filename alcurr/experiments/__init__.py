"""Many runs: configs, the runner, the comparison, prediction and tuning."""

__all__ = ["comparison", "runner"]
