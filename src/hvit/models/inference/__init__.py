"""Models prepared for inference."""
