"""The HTTP side of the service: each module makes a router of one kind of request."""
