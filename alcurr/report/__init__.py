"""Tables and figures, made from what the runs left on disk alone."""
