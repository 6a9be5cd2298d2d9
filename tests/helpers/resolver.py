"""A resolver that hangs or changes its answers: a library of a few lines in front of the system's, for child processes.

No server is needed and nothing on the machine is changed. The daemon resolves names as usual: libcurl's threads call
`getaddrinfo`.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest

HANGING: Final = "hang.test"
"""The look-up of this name takes half a minute and returns no address."""
CHANGING: Final = "change.test"
"""The first look-up of this name returns 127.0.0.1, each later one 169.254.169.254."""

MISSING: Final = "missing.test"
"""This name does not exist until the file named by `READY` does; then it is 127.0.0.1."""
MOVED: Final = "moved.test"
"""127.0.0.9 until that file exists, then 127.0.0.1."""
READY: Final = "TEST_RESOLVER_READY"

# Without headers, so that only a compiler is needed.
_SOURCE: Final = f"""
struct timespec {{ long seconds; long nanoseconds; }};
extern int nanosleep(const struct timespec *, struct timespec *);
extern void *dlsym(void *, const char *);
extern int strcmp(const char *, const char *);
extern char *getenv(const char *);
extern int access(const char *, int);
typedef int look_up(const char *, const char *, const void *, void **);
static int asked;

int getaddrinfo(const char *name, const char *service, const void *hints, void **result) {{
  look_up *real = (look_up *) dlsym((void *) -1L, "getaddrinfo");
  if (name && !strcmp(name, "{HANGING}")) {{
    struct timespec pause = {{ 30, 0 }};
    nanosleep(&pause, 0);
    return -3;
  }}
  if (name && !strcmp(name, "{CHANGING}")) {{
    if (hints && ((const int *) hints)[1] == 10)
      return -2; /* libcurl queries IPv6 separately, and there is none */
    name = asked++ ? "169.254.169.254" : "127.0.0.1";
  }}
  if (name && (!strcmp(name, "{MISSING}") || !strcmp(name, "{MOVED}"))) {{
    const char *ready = getenv("{READY}");
    int is_ready = ready && access(ready, 0) == 0;
    if ((hints && ((const int *) hints)[1] == 10) || (!is_ready && !strcmp(name, "{MISSING}")))
      return -2;
    name = is_ready ? "127.0.0.1" : "127.0.0.9";
  }}
  return real(name, service, hints, result);
}}
"""


@functools.cache
def preloaded() -> dict[str, str]:
    """Return the variables with which a child process uses that resolver."""
    compiler = next((found for name in ("cc", "gcc", "clang", "tcc") if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc, clang or tcc) to build the resolver with")
    directory = Path(tempfile.mkdtemp(prefix="sockudo-queue-resolver-"))
    source, library = directory / "resolver.c", directory / "resolver.so"
    source.write_text(_SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-nostdlib", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library)}
