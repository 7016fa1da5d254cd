"""How cells are run, what they share, and where their results go."""
