"""Cross-validation: its runs, here or on a cluster, and its report."""
