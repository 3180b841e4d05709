"""colorgan: train conditional GANs to colour gray photographs, and colour yours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colorgan.inference.colorizer import Colorizer
    from colorgan.inference.hints import Hint

__version__ = "0.1.0"
__all__ = ["Colorizer", "Hint", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Colorizer` and `Hint` only when first used: they bring NumPy, SciPy and Pillow."""
    if name == "Colorizer":
        from colorgan.inference.colorizer import Colorizer

        return Colorizer
    if name == "Hint":
        from colorgan.inference.hints import Hint

        return Hint
    raise AttributeError(f"module 'colorgan' has no attribute {name!r}")
