"""What a representation is good for: one verb, one file, imported from there. This file loads none of them."""
