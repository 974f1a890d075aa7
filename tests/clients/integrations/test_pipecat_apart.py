"""The tests of the Pipecat adaptor, run where Pipecat is."""

import pytest

from clients.integrations.pipecat_environment import pipecat_python, run_there


@pytest.mark.slow
def test_the_adaptor_works_in_pipecats_own_pipelines():
    pipecat_python()
    done = run_there(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/clients/integrations/test_pipecat.py"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
