"""The workspace: all docks, three planes, and the strip of steps."""
