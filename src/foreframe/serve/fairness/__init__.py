"""Nobody waits for another for long: who asks, in which order they are served, how much they hold.

A client is an address. Steps are taken in turn, one client after the other; all other work has a
lane of its own with few places; and what a client has waiting or unread is bounded.
"""
