"""Colour photos of any size with a trained generator."""
