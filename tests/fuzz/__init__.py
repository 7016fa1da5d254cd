"""Mutated files of every format that Salience reads: each must be read, or refused in one line.

python -m tests.fuzz --mutants 2000 --formats csv npz --seconds 600 --seed 0 --keep FOLDER
"""
