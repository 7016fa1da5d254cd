"""Generative methods: they can sample new items."""
