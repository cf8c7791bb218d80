"""Learning from unlabelled scans."""
