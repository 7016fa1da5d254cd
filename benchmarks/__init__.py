"""The benchmarks: `python -m benchmarks` runs them, benchmarks/README.md describes them."""
