"""The command `sockudo-queue`, also as `python -m sockudo_queue`.

Signals are blocked before anything else is imported. One that comes during the imports then waits, and ends neither in
a traceback nor in an exit code of the system: `run` answers it in its own loop, the other commands when they begin.
"""

import sys

from sockudo_queue.runtime.platform import unsupported

if reason := unsupported(sys.platform):
    # Before the next imports: what they use does not exist there.
    sys.stderr.write(f"{reason}\n")
    sys.exit(3)

from sockudo_queue.runtime.signal_mask import block_signals

block_signals()

from sockudo_queue.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
