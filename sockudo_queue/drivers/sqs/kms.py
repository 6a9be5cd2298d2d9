"""Explains errors of SQS about the KMS key that encrypts a queue, each with a remedy. Makes no calls."""

from __future__ import annotations

import re
from typing import Final

_CODE: Final = re.compile(r"(?:KMS\.|Kms)([A-Za-z]{1,60}?)(?:Exception)?")
"""The codes in the query protocol ("KMS.AccessDeniedException") and in the JSON protocol ("KmsAccessDenied")."""

_REMEDIES: Final = {
    "AccessDenied": "allow kms:Decrypt and kms:GenerateDataKey on that key to these credentials, in the key policy too",
    "Disabled": "the key is disabled; enable it, or give the queue another key",
    "InvalidKeyUsage": "the key is not a symmetric encryption key; give the queue another key",
    "InvalidState": "the key is pending deletion or not ready; restore it, or give the queue another key",
    "NotFound": "the key does not exist in this region; give the queue another key",
    "OptInRequired": "the account has no subscription for KMS",
}


def kms_fault(code: str) -> str | None:
    """Return the fault of the key with a remedy; None for a code that is not about KMS or is only temporary."""
    found = _CODE.fullmatch(code.rpartition("#")[2])
    if found is None or found[1].startswith("Thrott"):
        return None
    remedy = _REMEDIES.get(found[1], "check the key of the queue")
    return f"the KMS key of the queue cannot be used (KMS {found[1]}): {remedy}"
