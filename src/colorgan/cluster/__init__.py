"""Colour and preprocess on a Ray cluster: the extra `colorgan[cluster]`."""
