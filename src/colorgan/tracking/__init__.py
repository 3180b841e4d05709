"""Recording of runs: losses, metrics, pictures and where a result came from."""
