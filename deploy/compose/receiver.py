"""A receiver for trying things out: prints each webhook, verifies its signature, and answers 200.

python receiver.py PORT, with the app's secret in APP_SECRET; it answers after DELAY seconds (0). Standard library only.
Not for production: it does nothing with the events, and has no limit on what it reads.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("APP_SECRET", "").encode()
DELAY = float(os.environ.get("DELAY", "0"))


class Webhook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        wanted = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        genuine = hmac.compare_digest(wanted, self.headers.get("X-Pusher-Signature", ""))
        headers = {name: self.headers.get(f"X-Sockudo-{name}", "-") for name in ("Webhook", "Job-Id", "Attempt")}
        # One text with its line end, since several threads print.
        print(
            f"{headers['Webhook']}, job {headers['Job-Id']}, attempt {headers['Attempt']}, "
            f"signature {'valid' if genuine else 'INVALID'}: {body.decode('utf-8', 'replace')}\n",
            end="",
            flush=True,
        )
        time.sleep(DELAY)
        self.send_response(200 if genuine else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing else; do_POST prints each request."""


if __name__ == "__main__":
    port = int(sys.argv[1])
    print(f"receiver listens on port {port}", flush=True)
    try:
        ThreadingHTTPServer(("", port), Webhook).serve_forever()
    except KeyboardInterrupt:
        print("receiver stopped", flush=True)
