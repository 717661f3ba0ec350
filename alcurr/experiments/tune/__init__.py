"""Finding the settings of an experiment, on the way to it."""
