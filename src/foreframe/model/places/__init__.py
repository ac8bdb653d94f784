"""A model whose state has places: an arm, a scene that it touches, moved copies of what is seen."""
