"""What each optimization of the training step brings on the machine at hand."""
