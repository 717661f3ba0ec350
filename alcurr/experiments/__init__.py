"""Many runs: configs, experiments, comparison, prediction and tuning."""

__all__ = ["comparison", "experiment_runner"]
