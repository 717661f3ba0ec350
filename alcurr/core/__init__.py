"""What every other package builds on: errors, specs, registries, files."""
