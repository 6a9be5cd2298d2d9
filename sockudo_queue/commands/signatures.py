"""`sign` and `verify`: the signature of a body, as receivers compute it."""

from __future__ import annotations

import argparse
import hmac
import sys
from collections.abc import Callable
from pathlib import Path

from sockudo_queue.commands.apps import secret_of
from sockudo_queue.commands.context import EXIT_NO, load
from sockudo_queue.commands.terminal import print_json, print_line
from sockudo_queue.config import AppsDocument
from sockudo_queue.core import signing
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.errors import SettingsError


def sign(options: argparse.Namespace) -> int:
    """Print the signature of all bytes of a file."""
    loaded, _ = load(options)
    signature = signing.sign(_key(loaded.apps_document, options), _body(options.file))
    if options.json:
        print_json({"signature": signature})
    else:
        print_line(signature)
    return 0


def verify(options: argparse.Namespace) -> int:
    """Verify the signature of a file, and print the likely cause if it is wrong."""
    loaded, _ = load(options)
    key, body, given = _key(loaded.apps_document, options), _body(options.file), options.signature.strip()
    valid = hmac.compare_digest(signing.sign(key, body).encode(), given.encode(errors="surrogateescape"))
    hint = "" if valid else _hint(given, body, lambda changed: signing.sign(key, changed))
    if options.json:
        print_json({"valid": valid, "hint": hint or None})
    elif valid:
        print_line("the signature is valid")
    else:
        print_line(f"the signature does not match the body and the secret{hint and '; ' + hint}")
    return 0 if valid else EXIT_NO


def _hint(given: str, body: bytes, signed: Callable[[bytes], str]) -> str:
    """Return the likely cause of a wrong signature."""
    if given.lower() == signed(body):
        return "it matches in lower case; receivers compare lower-case hexadecimal digits"
    if given.lower() == signed(body.rstrip(b"\r\n")):
        return "it matches the body without its final line break, which an editor or echo may have added"
    if given.lower() == signed(body + b"\n"):
        return "it matches the body with a line break at the end"
    if len(given) != 64 or not all(digit in "0123456789abcdefABCDEF" for digit in given):
        return "a signature is 64 hexadecimal digits"
    return "check the secret, and use the body as it was received, not re-encoded by a parser"


def _key(document: AppsDocument, options: argparse.Namespace) -> hmac.HMAC:
    return hmac_key(secret_of(document, options).revealed)


def _body(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise SettingsError([f"{name} cannot be read: {error.strerror}"]) from None
