"""Trained generators as MLflow models: registered, promoted, served."""
