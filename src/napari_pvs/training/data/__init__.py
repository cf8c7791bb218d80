"""What a run learns from: scans prepared for training, who takes part, patches."""
