"""``python -m foreframe``, which launchers of several processes ask for."""

from foreframe.cli import main

main()
