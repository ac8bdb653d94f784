"""``python -m foreframe``, which launchers of several processes ask for."""

from foreframe.commands.app import main

main()
