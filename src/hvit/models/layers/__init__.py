"""What model families share: the encoder contract, attention, masking, blocks, grids and linear layers."""
