import pytest

pytest.register_assert_rewrite("tests.operators.case")
