"""The command `colorgan colorize`: files in, files out."""
