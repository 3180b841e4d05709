"""Small pieces of sentences: numbers, counts, lists, names."""

from __future__ import annotations

from collections.abc import Sequence

MINUS = "\u2212"
EN_DASH = "\u2013"


def number(value: float, digits: int) -> str:
    """Format a number with a true minus sign, and no minus before a zero."""
    rounded = round(value, digits)
    return f"{MINUS if rounded < 0 else ''}{abs(rounded):.{digits}f}"


def photos_of(count: int) -> str:
    """Return how many photos, in words."""
    return f"{count} photo" if count == 1 else f"{count} photos"


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does: a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def title(space: str) -> str:
    """Return the name of a space as people write it."""
    return space.upper()


def capital(text: str) -> str:
    """Return a text with its first letter large, the others as they are."""
    return text[:1].upper() + text[1:]


def readable(label: object) -> str:
    """Return a class label as people write it."""
    return str(label).replace("_", " ")
