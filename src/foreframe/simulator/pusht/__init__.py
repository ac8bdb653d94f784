"""PushT: a disc pushes a T about on a plane, as gym-pusht simulates and draws it.

The environment is that of Florence et al. 2021 and Chi et al. 2023 (Diffusion Policy). It is the
second world that foreframe simulates: other actions, other looks, other physics.
"""
