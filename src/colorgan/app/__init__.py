"""The page to drop a photo on: `colorgan app`."""
