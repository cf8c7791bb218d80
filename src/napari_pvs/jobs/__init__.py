"""Work in a process of its own: typed requests, typed answers, JSON lines on stdout."""
