"""Samples in shards: tar files as WebDataset names them, with an index, and data sets that are streamed."""
