"""Evaluation: named protocols, the model beside its baselines, result cards, comparisons.

options       what one may choose
protocols     everything that decides what a score means
conditions    the false conditions, each defined once
sampling      many futures, scored as they are imagined
score         every row on the same sequences, with the same noise
summary       from raw scores to the card
card          the result as a dataclass and as JSON; words puts it into Markdown
evaluate      all of this for a run folder
compare       paired differences between runs
predict       one recording, as pictures
"""
