"""Pictures made of results: grids, curves and the report."""
