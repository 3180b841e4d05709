"""Colour, preprocess and train on a Ray cluster: the extra `colorgan[cluster]`."""
