"""Checking that a recorded training run can be repeated."""
