"""Drawings: every published form of Quick, Draw!, and generated doodles."""
