"""Cross-validation: its runs, alone or on a cluster, and its report."""
