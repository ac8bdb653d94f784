"""The playground: a service that imagines futures step by step, and the page that steers it."""

from foreframe.serve.app import make_app
from foreframe.serve.limits import Limits
from foreframe.serve.listen import listen
from foreframe.serve.served import Served

__all__ = ["Limits", "Served", "listen", "make_app"]
