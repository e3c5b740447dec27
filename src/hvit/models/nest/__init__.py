"""NesT: nested local transformers with block aggregation."""
