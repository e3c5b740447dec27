"""Explanations drawn as pictures."""
