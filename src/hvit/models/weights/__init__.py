"""Weights files: reading, recognising, loading and saving."""
