"""One update and one run: the fused step, its loop, and their compilation."""
