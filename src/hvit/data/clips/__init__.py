"""Clips: lists, index, decoding and moving digits."""
