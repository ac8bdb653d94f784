"""The playground: a service that imagines futures step by step, and the page that steers it.

Its packages (``pip install 'foreframe[web]'``) are needed by everything here but ``options``.
"""
