"""What is trained: losses on a batch, and an evaluation."""
