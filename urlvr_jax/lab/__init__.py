"""The laboratory: small worlds, small language models pretrained on them, and their questions."""

from urlvr_jax.lab import countdown_world, world

WORLDS = {recipe: w for w in (world, countdown_world) for recipe in w.RECIPES}  # by recipe


def documents(recipe: str, seed: int, step: int, count: int, longest: int) -> list[tuple[str, str, bool]]:
    """`count` documents (question, answer, ends) of a recipe, a function of (seed, step)."""
    return WORLDS[recipe].documents(recipe, seed, step, count, longest)
