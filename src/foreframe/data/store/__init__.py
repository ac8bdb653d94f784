"""Packed recordings on disk, and batches of them."""
