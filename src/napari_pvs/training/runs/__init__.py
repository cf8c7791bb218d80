"""Run folders: their content, their processes, and how they are doing."""
