"""Reinforcement learning of language models without labels, in JAX."""

__version__ = "0.1.0"
