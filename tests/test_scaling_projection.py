"""Projections: in whole steps, by laws that were tested, and not where they say nothing."""

import numpy as np
import pytest
import scaling_fake
from matplotlib.figure import Figure

from cloudmask.train import schedule
from scaling.check.reference import load
from scaling.check.verdict import check
from scaling.laws import fits, laws, projection, reach, run_time
from scaling.record import store
from scaling.report import figures, findings, speedup

WORK = load("cloudmask-dgx2").work
RANKS = (1, 2, 4, 8)


def study_of(folder, rate, *, noise=0.01, repeats=6, ranks=RANKS, modes=("weak",), seed=1):
    found = store.read(
        scaling_fake.write_study(folder, ranks=ranks, modes=modes, repeats=repeats, copies=False)
    )
    random = np.random.default_rng(seed)
    for row in found.rows:
        if row["kind"] == "ranks":
            exact = float(rate(np.float64(row["ranks"])))
            row["patches_per_second"] = exact * float(np.exp(noise * random.standard_normal()))
    return found


def linear(n):
    return laws.gustafson(n, 8.0, 0.03)


@pytest.mark.parametrize("shuffle", ["shard", "global"])
@pytest.mark.parametrize(("ranks", "batch"), [(1, 4), (8, 32), (13, 4), (96, 32), (485, 32)])
def test_work_is_counted_in_the_steps_that_training_takes(shuffle, ranks, batch):
    """By the trainer's own plans, whose last steps are filled up to whole ones."""
    whole = run_time.whole_steps(WORK, np.array(float(ranks)), np.array(float(ranks * batch)))
    patches = WORK["training_patches"]
    steps = schedule.patches_per_step(patches, ranks, global_batch=ranks * batch, shuffle=shuffle)
    assert whole["training_patches"] == len(steps) * ranks * batch >= patches
    rows = schedule.validation_plan(WORK["validation_patches"], ranks, ranks - 1, batch=batch)
    assert whole["validation_patches"] == ranks * rows.size


def test_four_rank_counts_carry_usl_to_twice_as_many_and_no_further(tmp_path):
    fitted, _ = reach.laws_of(study_of(tmp_path / "study", linear), "weak")
    assert reach.carried(fitted, np.array([8.0, 16.0, 17.0, 64.0])).tolist() == [1, 1, 0, 0]
    assert not reach.carried({}, np.array([1.0])).any()


WIDE = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def test_projection_does_not_fall_where_another_device_saves_no_step(tmp_path):
    """15,520 patches in batches of 4 each: 300 devices take 13 steps, and so do 310."""
    study = study_of(tmp_path / "study", linear, noise=0.0, ranks=WIDE)
    for row in study.rows:
        row["validation_patches"], row["validation_seconds"] = 20 * 256, 4.0
    found = projection.project(study, WORK)
    fitted, _ = reach.laws_of(study, "weak")
    law = next(iter(fitted.values())).predict
    for ranks in (300, 310):
        plan = schedule.patches_per_step(15520, ranks, global_batch=4 * ranks, shuffle="shard")
        assert len(plan) == 13
        step = 4 * ranks / float(law([ranks])[0])
        # Of two validations on 256 ranks, each 5 steps of 4 patches on every rank.
        a_validation_step = 4.0 / 2 / 5 * step / (4 * 256 / found.parts.rate)
        validation = np.ceil(np.ceil(3880 / ranks) / 4) * a_validation_step
        constants = found.parts.startup + found.parts.surplus + found.parts.rest
        _, middle, _ = found.at(ranks)
        wanted = constants + 30 * (13 * step + validation + found.parts.checkpoint)
        assert middle == pytest.approx(wanted, rel=1e-6)


def test_no_more_devices_are_projected_than_the_work_can_feed(tmp_path):
    study = study_of(tmp_path / "study", linear, ranks=WIDE, noise=0.001)
    for row in study.rows:
        row["batch_per_rank"], row["global_batch"] = 32, 32 * row["ranks"]
    found = projection.project(study, WORK)
    assert found.ranks[-1] == 485 == 15520 // 32
    schedule.check_batch(15520, 485, global_batch=485 * 32)
    with pytest.raises(ValueError, match="is larger than a rank's"):
        schedule.check_batch(15520, 486, global_batch=486 * 32)
    assert found.at(1024) is None
    assert found.refusal.startswith("more than 485 devices with a batch of 32 each")


def test_projection_has_no_pole_and_ends_with_what_the_study_carries(tmp_path):
    """Without coherency, 2 % of noise: the old fits had poles, and minutes became centuries."""
    for seed in range(10):
        rate = lambda n: laws.usl(n, 8.0, 0.02, 0.0)  # noqa: E731
        study = study_of(tmp_path / f"{seed}", rate, noise=0.02, repeats=3, seed=seed)
        found = projection.project(study, WORK)
        low, middle, high = found.seconds
        assert np.all((low > 0) & (low <= middle) & (middle <= high))
        assert np.all(high <= reach.WIDEST * low)
        assert found.ranks[-1] <= 16, "USL has three parameters, the study four rank counts"
        assert found.at(72) is None
        assert found.refusal.startswith(
            ("beyond 16 devices 1, 2, 4, 8 ranks do not carry", "beyond 1")
        )


def test_rejected_law_gives_way_to_one_that_is_not(tmp_path):
    rate = lambda n: laws.usl(n, 8.0, 0.05, 0.02)  # noqa: E731
    study = study_of(tmp_path / "study", rate, noise=0.002)
    assert projection.project(study, WORK).law == "USL of weak scaling"


def test_where_all_laws_are_rejected_their_projection_says_so_and_is_as_wide(tmp_path):
    rates = {1: 8.0, 2: 15.5, 4: 30.6, 8: 58.0, 16: 113.0}
    study = study_of(tmp_path / "study", lambda n: rates[int(n)], noise=0.0005, ranks=tuple(rates))
    found = projection.project(study, WORK)
    assert "REJECTED by its own rank counts (lack of fit F(" in found.law
    low, _, high = found.at(32)
    assert high > 1.1 * low, "not by the scatter of runs, which is a twentieth of a per cent"


def test_intervals_that_say_nothing_are_not_given(tmp_path):
    bent = study_of(tmp_path / "bent", lambda n: 8.0 * n * (0.5 if n == 4 else 1), noise=0.0005)
    found = projection.project(bent, WORK)
    assert "times its lower, which says nothing" in found.refusal or found.law == "no law"
    assert found.at(16) is None


def test_law_that_nothing_tests_projects_nothing(tmp_path):
    found = projection.project(study_of(tmp_path / "study", linear, ranks=(1, 2)), WORK)
    assert found.law == "no law"
    assert "USL has 3 parameters and needs 3 different rank counts" in found.refusal
    assert found.ranks.tolist() == [1, 2]
    three = projection.project(study_of(tmp_path / "three", linear, ranks=(1, 2, 4)), WORK)
    assert three.law == "no law"
    assert "USL has 3 parameters, and so few rank counts as 1, 2, 4 do not test it" in three.refusal


def test_fewer_runs_project_less_and_never_by_a_law_that_cannot_bend(tmp_path):
    """One repeat refuses USL, so Gustafson alone went to 32 devices, where USL goes to 16."""
    rate = lambda n: laws.usl(n, 10.0, 0.02, 0.0)  # noqa: E731
    once = study_of(tmp_path / "once", rate, repeats=1)
    found = projection.project(once, WORK)
    assert found.law == "no law"
    assert found.at(16) is None
    (told,) = findings.projected(once, fits.fit_study(once))
    assert "on 16 ranks: nothing; USL has 3 parameters and needs 6 points" in told.text


@pytest.mark.parametrize(
    ("options", "off", "label", "projected"),
    [
        ({"ranks": (1, 2)}, 1.0, "simplest", {}),
        ({"repeats": 1}, 1.0, "simplest", {}),
        ({"ranks": (1, 2, 4)}, 1.0, "simplest", {}),
        ({}, 1.0, "USL", {"USL, projected": 16.0}),
        ({}, 1.05, "USL, rejected", {"USL, rejected, projected": 16.0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["weak", "strong"])
def test_pictures_project_what_the_page_does(tmp_path, options, off, label, projected, mode):
    rate = lambda n: laws.usl(n, 8.0, 0.02, 0.001) * (off if n == 4 else 1)  # noqa: E731
    study = study_of(tmp_path / "study", rate, noise=0.005, modes=(mode,), **options)
    fitted = fits.fit_study(study)
    draw = {"weak": speedup.draw_weak, "strong": speedup.draw_strong}[mode]
    axes = Figure().subplots()
    draw(axes, figures.views([study], [fitted]))
    reach_of = {str(line.get_label()): max(line.get_xdata()) for line in axes.lines}
    drawn = {name for name in reach_of if name.startswith(("USL", "Amdahl", "Gustafson"))}
    simplest = {"weak": "Gustafson", "strong": "Amdahl"}[mode]
    wanted = label.replace("simplest", simplest)
    assert all(name.startswith(wanted) for name in drawn)
    assert drawn
    assert {name: end for name, end in reach_of.items() if "projected" in name} == projected
    (told,) = findings.projected(study, fitted)
    assert (": nothing; " in told.text) == (not projected)
    assert ("REJECTED" in told.text) == ("rejected" in label)


def test_laws_that_the_figures_cannot_tell_apart_both_count(tmp_path):
    """USL falls off where Gustafson does not: what either has possible is possible."""
    study = study_of(tmp_path / "study", linear, noise=0.02, seed=3)
    both = projection.project(study, WORK)
    assert both.law == "USL and Gustafson of weak scaling"
    fitted, _ = reach.laws_of(study, "weak")
    ranks = np.array([16.0])
    for fit in fitted.values():
        slow, fast = fit.interval(ranks, runs=np.inf)
        batch = run_time.whole_steps(WORK, ranks, 4 * ranks)
        low, _, high = both.at(16)
        assert low <= float(both.parts.total(batch, fast)[0])
        assert high >= float(both.parts.total(batch, slow)[0])


def test_strong_scaling_ends_with_its_batch(tmp_path):
    rate = lambda n: laws.usl(n, 8.0, 0.0001, 0.0)  # noqa: E731
    ranks = (1, 2, 3, 4, 5, 6, 7, 8)
    study = study_of(tmp_path / "study", rate, noise=0.001, modes=("strong",), ranks=ranks)
    found = projection.project(study, WORK)
    assert found.law == "USL of strong scaling"
    assert found.ranks[-1] == 32
    assert found.refusal == "a global batch of 32 cannot feed more devices"


def test_a_stated_number_of_validations_is_projected(tmp_path):
    """None stated: one after every epoch, of which this work has thirty."""
    study = study_of(tmp_path / "study", linear, noise=0.0)
    assert "validations" not in WORK
    each = projection.project(study, WORK)
    once = projection.project(study, {**WORK, "validations": 1})
    thirty = projection.project(study, {**WORK, "validations": 30})
    assert thirty.at(8) == each.at(8)
    patches = 8 * 4 * np.ceil(3880 / 8 / 4)
    wanted = 29 * patches * each.parts.validation_patch
    assert each.at(8)[1] - once.at(8)[1] == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize("mode", ["weak", "strong"])
def test_the_mode_that_was_asked_for_projects(tmp_path, mode):
    study = study_of(tmp_path / "study", linear, modes=("strong", "weak"))
    assert "of weak scaling" in projection.project(study, WORK).law
    assert f"of {mode} scaling" in projection.project(study, WORK, mode=mode).law
    verdict = check(study, load("cloudmask-dgx2"), mode=mode)
    assert f"of {mode} scaling" in " ".join(verdict.lines)


def test_constants_that_grow_with_the_ranks_take_the_95_percent_away(tmp_path):
    study = study_of(tmp_path / "study", linear)
    random = np.random.default_rng(1)
    for grown in (0.0, 0.5, 250.0):  # seconds a rank, of a projection of hours
        for row in study.rows:
            startup = (8 + grown * row["ranks"]) * float(np.exp(0.02 * random.standard_normal()))
            training = row["patches_trained"] / row["patches_per_second"]
            row |= {"startup_seconds": startup, "first_epoch_seconds": None}
            row |= {"validation_seconds": 0.0, "checkpoints_seconds": 0.0}
            row["wall_seconds"] = startup + training + 5
        found = projection.project(study, WORK)
        told = " ".join(check(study, load("cloudmask-dgx2")).lines)
        if grown > 1:
            assert found.kind == "not 95 %"
            assert "no 95 % interval: constants as measured on 8 ranks, their growth not in" in told
            assert "(95 %" not in told
        else:
            assert (found.doubt, found.kind) == ("", "95 % if constants stay as on 8 ranks")
            assert "(95 % if constants stay as on 8 ranks), projected" in told
    study.rows[:] = [row for row in study.rows if row["repeat"] <= 3]
    few = projection.project(study, WORK)
    assert few.doubt.startswith(
        "constants of 3 runs alone, and fewer than six give none; constants"
    )


def test_resumed_runs_tell_no_parts(tmp_path):
    """Their clocks are those of the last part, their epochs and validations those of the whole."""
    study = study_of(tmp_path / "study", linear)
    for row in study.rows:
        if row["ranks"] == 8:
            row["before_resume_seconds"] = 500.0
    found = projection.project(study, WORK)
    assert (found.parts_ranks, found.measured_ranks[-1]) == (4, 8)
    for row in study.rows:
        row["before_resume_seconds"] = 500.0
    assert projection.project(study, WORK) is None
    lines = check(study, load("cloudmask-dgx2")).lines
    assert "nothing is projected: no run tells what its time was made of" in lines
