"""What a rater does to labels, without a GUI: clicks, review, the list of single PVS."""
