"""`sockudo-queue demo`: the real daemon in a child process, two receivers, and jobs as Sockudo writes them.

It shows the daemon from outside. Nothing here is used by the daemon, and of the daemon only its command, its settings,
its log lines and its metrics are used here.
"""
