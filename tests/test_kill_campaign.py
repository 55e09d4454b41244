"""A few of the kills of kill_campaign.py, one of each program; a hundred are for a quiet hour."""

import pytest
from kill_campaign import campaign


@pytest.mark.slow
def test_killed_programs_go_on_to_the_bytes_of_unbroken_ones(tmp_path):
    tally = campaign(5, 3, tmp_path, per_folder=1)
    assert tally.problems == []
    assert sum(tally.kills.values()) == 5
    assert sum(tally.restarts.values()) >= 5
