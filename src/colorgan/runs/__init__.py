"""How a training is run: its device, processes, checkpoints and folder; never what it computes."""
