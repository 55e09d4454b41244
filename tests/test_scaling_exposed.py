"""Communication that computing does not hide, held against the allreduce that was fitted."""

import pytest
import scaling_fake

from scaling.laws import exposed, fits
from scaling.record import store
from scaling.report import tables

SIZE = 7794436


@pytest.mark.parametrize(
    ("factor", "emulated", "verdict"),
    [
        (1.1, 0.5, "agrees"),
        (0.85, 0.5, "agrees"),
        (1.3, 0.5, "does not agree"),
        (0.3, None, "70 % hidden"),
        (0.9, None, "hardly any hidden"),
        (1.5, None, "more than the allreduce"),
    ],
)
def test_measured_time_is_held_against_the_fitted_allreduce(tmp_path, factor, emulated, verdict):
    scaling_fake.write_study(tmp_path / "plain", modes=("weak",), repeats=2)
    study = store.read(tmp_path / "plain")
    fit = next(one.fit for one in fits.fit_study(study) if one.key == "allreduce")
    whole = float(fit.predict([2], [SIZE])[0])
    told = {"last_rank_exposed_seconds": factor * whole, "emulated_step_seconds": emulated}
    scaling_fake.write_study(tmp_path / "told", modes=("weak",), repeats=2, **told)
    (one,) = exposed.compare(store.read(tmp_path / "told"), fit)
    assert (one.ranks, one.num_bytes, one.modelled) == (2, SIZE, whole)
    assert one.difference == pytest.approx(factor - 1)
    assert one.verdict == verdict
    (row,) = tables.exposed_table([one]).rows
    assert row[5:] == (f"{100 * (factor - 1):+.0f} %", verdict)
    assert exposed.compare(study, fit) == []
    assert exposed.compare(store.read(tmp_path / "told"), None) == []
