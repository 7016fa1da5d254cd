"""What a representation is good for: one verb, one file. `table` lists them all."""
