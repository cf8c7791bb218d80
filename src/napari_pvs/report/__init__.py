"""Reports to look at: one self-contained HTML file for a subject, and one for a cohort."""
