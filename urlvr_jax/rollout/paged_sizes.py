"""How many pages a rollout needs and can use: whole numbers, before anything is compiled."""

from __future__ import annotations


def pages_of(columns, page: int):
    """Pages that hold so many columns."""
    return -(-columns // page)


def page_columns(asked: int, max_new_tokens: int) -> int:
    """Columns of a page: as asked, or the fewest multiple of 16 that hold a whole response, if those are fewer."""
    return min(asked, -(-max_new_tokens // 16) * 16)


def prompt_pages(width: int, page: int) -> int:
    """Pages of the widest prompt, whose last token is not kept; at least 1, so that no array is empty."""
    return max(1, pages_of(width - 1, page))


def most_pages(prompts: int, width: int, slots: int, max_new_tokens: int, page: int) -> int:
    """Pages a device can use: all its slots at full length, and all its prompts."""
    return prompts * prompt_pages(width, page) + slots * pages_of(max_new_tokens, page)


def least_pages(prompts: int, width: int, max_new_tokens: int, page: int) -> int:
    """Pages that a device needs: one row at full length, and all its prompts."""
    return most_pages(prompts, width, 1, max_new_tokens, page)


def pages_for(asked: int, prompts: int, width: int, slots: int, max_new_tokens: int, page: int) -> int:
    """Pages a device, of those asked for (0: as many as can be used) as many as can be used, and no fewer than needed."""
    page = page_columns(page, max_new_tokens)
    most = most_pages(prompts, width, slots, max_new_tokens, page)
    return min(most, max(asked or most, least_pages(prompts, width, max_new_tokens, page)))
