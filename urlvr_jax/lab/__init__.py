"""The laboratory: a small world, small language models pretrained on it, and its questions."""
