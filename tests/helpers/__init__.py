"""Building blocks of the tests: real servers, a proxy that loses replies, a receiver, job bodies, the daemon."""
