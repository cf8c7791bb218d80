"""What a study counts: PVS, their size and shape, by region."""
