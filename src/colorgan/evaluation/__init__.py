"""Measures of colour on the test split."""
