"""Photos: where they come from, the arrays they become, and batches of those."""
