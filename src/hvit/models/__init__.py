"""The models: families, published sizes and the weights they are loaded from."""
