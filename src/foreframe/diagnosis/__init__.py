"""Diagnosis: what the latent of a run carries, what it is worth, and what would help.

options       what one may choose
diagnose      a run folder examined, drawn and written
measure       the numbers
words         what they mean, and which option helps
result        both as a dataclass and as JSON
"""
