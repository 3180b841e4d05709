"""colorgan: train conditional GANs to colour gray photographs, and colour yours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colorgan.inference.colorizer import Colorizer

__version__ = "0.1.0"
__all__ = ["Colorizer", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Colorizer` only when it is first used: it brings NumPy, SciPy and Pillow."""
    if name == "Colorizer":
        from colorgan.inference.colorizer import Colorizer

        return Colorizer
    raise AttributeError(f"module 'colorgan' has no attribute {name!r}")
