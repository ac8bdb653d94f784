"""Studies: settings compared over several seeds, and a page whose sentences follow from numbers.

options       what one may choose
plan          cells and comparisons
definition    study.json: begun, or gone on with
cell          one cell with one seed, trained and scored
record        what is kept of it, and of all for results.json
study         all of this for a folder
read          the folder read back
numbers       over the seeds, with intervals; collapses and spikes
words         sentences and claims that follow from the numbers
table         the numbers as text; page, markdown and pictures show them
again         the commands that make a cell again
"""
