"""Many runs: configs, the runner, the comparison, prediction and tuning."""
