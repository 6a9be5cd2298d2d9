"""One POST to an endpoint: connections, guard, TLS, Lambda, and admission."""
