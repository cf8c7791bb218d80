"""Work in separate processes: typed requests, typed answers, JSON lines on stdout."""
