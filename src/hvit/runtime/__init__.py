"""Runs exported models with numpy, Pillow and one inference library: without torch."""
