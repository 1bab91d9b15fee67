"""The configuration of verbs that are given no experiment: the defaults."""

from urlvr_jax.config import default as get_config  # noqa: F401
