"""Run folders: what lies in them, their processes, how they are doing."""
