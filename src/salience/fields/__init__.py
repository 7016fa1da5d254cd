"""What a source holds, and the rows that it becomes: written once, with their statistics and fingerprint."""
