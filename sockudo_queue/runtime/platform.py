"""The supported operating systems. Imports nothing, because it is used before anything else."""

_NAMES = {"darwin": "macOS", "win32": "Windows", "cygwin": "Cygwin"}


def unsupported(platform: str) -> str:
    """Return why `sys.platform` is not supported, and an alternative; empty on Linux.

    The daemon waits for signals with `sigtimedwait`, which macOS and Windows do not have.
    """
    if platform == "linux":
        return ""
    return (
        f"sockudo-queue: runs on Linux only, and this is {_NAMES.get(platform, platform)}; run its container image "
        "instead: docker build -t sockudo-queue . && docker run --rm -p 9602:9602 -e QUEUE_DRIVER=redis "
        "-e REDIS_URL=redis://host.docker.internal:6379 sockudo-queue run"
    )
