"""The ground: whole files, places, jobs side by side, devices."""
