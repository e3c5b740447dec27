"""MViT and MViTv2, and the simplification path from MViTv2 to Hiera."""
