"""Colouring a photo of any size: the network sees a small copy, the photo keeps its lightness."""
