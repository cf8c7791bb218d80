"""Controls that several docks are made of."""
