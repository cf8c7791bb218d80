"""What a run is trained on: prepared scans, the cohort, patches."""
