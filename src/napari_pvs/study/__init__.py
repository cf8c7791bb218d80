"""A cohort on disk, in BIDS."""
