"""How hard the examples are, and their groups by it."""
