"""Health of a training: the probe that looks, the record it leaves, the signs in it, and the diagnosis."""
