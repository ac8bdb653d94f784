"""A run as a folder: its files, its weights, its card, and how they are shared."""
