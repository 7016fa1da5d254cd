"""Measures of embeddings that training and evaluation share: geometry, nearest neighbours, confidence intervals."""
