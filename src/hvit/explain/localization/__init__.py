"""Whether explanations find the right place: measures and images with known places."""
