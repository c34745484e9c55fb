import pytest

pytest.register_assert_rewrite("tests.ops.case")
