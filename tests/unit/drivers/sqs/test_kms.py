"""Errors about the KMS key of a queue, in both spellings that SQS uses."""

from __future__ import annotations

import pytest

from sockudo_queue.drivers.sqs.kms import kms_fault


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("KMS.AccessDeniedException", "kms:Decrypt"),
        ("com.amazonaws.sqs#KmsAccessDenied", "kms:GenerateDataKey"),
        ("KMS.DisabledException", "disabled"),
        ("KmsNotFound", "does not exist"),
        ("KMS.InvalidStateException", "pending deletion"),
        ("KmsInvalidKeyUsage", "symmetric"),
        ("KMS.OptInRequired", "subscription"),
        ("KMS.SomethingNew", "check the key"),
    ],
)
def test_fault_of_key_names_kms_and_the_remedy(code: str, words: str) -> None:
    fault = kms_fault(code)
    assert fault is not None
    assert "KMS" in fault
    assert words in fault


@pytest.mark.parametrize("code", ["", "AccessDenied", "KmsThrottled", "KMS.ThrottlingException", "KMS.<b>", "Kms\nX"])
def test_other_codes_are_not_faults_of_a_key(code: str) -> None:
    assert kms_fault(code) is None
