"""What a run is: the model's and the training's settings, as dataclasses."""
