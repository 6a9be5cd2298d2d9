"""Tells at the end of a run what these tests have measured, as the tests of faults do."""

from __future__ import annotations

from tests.faults.conftest import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]
