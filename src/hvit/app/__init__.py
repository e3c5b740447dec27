"""The page to play with: drop images, see classes and explanations, hide blocks. Served from this machine alone."""
