"""All that is to be measured on a GPU, by one command; see `__main__`."""
