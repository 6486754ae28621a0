"""Smaller models from trained ones, and what they still can do."""
