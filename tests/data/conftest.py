"""Makes this folder's helpers importable from the folders below."""
