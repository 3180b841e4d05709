"""Colour, preprocess, train and tune on a Ray cluster: the extra `colorgan[cluster]`."""
