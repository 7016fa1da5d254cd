"""How stored results are shown: tables, board, figure, README. Requires only Python."""
