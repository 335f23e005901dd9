"""The web server: gunicorn supervises the worker processes, and Waitress speaks HTTP in each of them.

In a worker process, one thread reads requests and writes responses for all connections, and other threads run
Django. A request gets a thread only when its headers and its body have arrived, and a response that fits the
output buffer frees the thread at once, so a slow client costs a connection but no thread.

    gunicorn.py      gunicorn's settings
    worker.py        the worker process: its loop, and how it stops
    connections.py   the limits on time and size for a connection
    pools.py         the threads: those that record events are kept apart from those that serve pages
"""
