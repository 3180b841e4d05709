"""Training of a generator against a discriminator."""
