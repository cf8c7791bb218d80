"""The synthetic cohort: anatomy, tubes, acquisition."""
