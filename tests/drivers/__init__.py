import pytest

pytest.register_assert_rewrite("tests.drivers.conformance")
pytest.register_assert_rewrite("tests.drivers.dead_letters")
