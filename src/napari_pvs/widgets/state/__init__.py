"""What one viewer works on: its session, autosave and predictions."""
