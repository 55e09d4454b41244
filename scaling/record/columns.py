"""The columns of results.csv: their order, type, unit and meaning, and the schema beside it.

The schema is a Data Package (datapackage.org) with a Table Schema: programs that know it read the
CSV with the right types. A column is never renamed, moved or given another meaning without a new
VERSION; new ones are added at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

VERSION = "1.0.0"
"""of the schema: first number a break, second new columns, third other words"""
TEXT, WHOLE, REAL, YES = "string", "integer", "number", "boolean"
LIST, OBJECT, TIME = "array", "object", "datetime"


@dataclass(frozen=True)
class Column:
    """A column of results.csv, empty where a row does not have it."""

    name: str
    type: str
    """in the words of Table Schema"""
    meaning: str
    unit: str = ""


COLUMNS = (
    Column("study", TEXT, "name of the study's folder, behind its parents' if two are alike"),
    Column("point", TEXT, "name of the point: mode, kind, ranks and repeat"),
    Column("attempt", WHOLE, "1, and more where a point was run again"),
    Column("mode", TEXT, "strong: global batch fixed; weak: batch per rank fixed; any: allreduce"),
    Column("kind", TEXT, "ranks, alone (no Horovod), copies (unconnected), or allreduce"),
    Column("ranks", WHOLE, "processes that train together, or unconnected copies"),
    Column("nodes", WHOLE, "hosts that the ranks ran on"),
    Column("repeat", WHOLE, "number of the repeat, from 1"),
    Column("status", TEXT, "ok, failed, stalled, timeout, invalid or superseded"),
    Column("error", TEXT, "why there are no figures"),
    Column("patches_per_second", REAL, "patches over time of the steady steps, all ranks", "1/s"),
    Column("total_seconds", REAL, "the whole run, by rank 0's clock", "s"),
    Column("wall_seconds", REAL, "the whole run, from its launch to its end", "s"),
    Column("rank_hours", REAL, "ranks times the time from launch to end", "h"),
    Column("ended", TIME, "when the point ended"),
    Column("folder", TEXT, "of the point, below points/"),
    Column("exit_code", WHOLE, "of the launcher"),
    Column("processes_killed", WHOLE, "processes that did not end by themselves"),
    Column("last_step", WHOLE, "last step that was seen from outside"),
    Column("other_cores", REAL, "of the ranks' own cores, taken by other programs", "cores"),
    Column("other_share", REAL, "the same as a share, on the host where it was largest"),
    Column("other_host", TEXT, "that host"),
    Column("usage", OBJECT, "what ranks used: median over ranks, the most, and whose that was"),
    Column("launcher", TEXT, "what started the ranks"),
    Column("binding", TEXT, "how ranks were bound to cores"),
    Column("cores_per_rank", WHOLE, "cores of each rank", "cores"),
    Column("threads_per_rank", WHOLE, "threads that each rank computed with"),
    Column("oversubscribed", YES, "ranks shared cores"),
    Column("cores", LIST, "numbers of the cores of each rank"),
    Column("hosts", LIST, "names of the hosts, each once"),
    Column("hardware", LIST, "kinds of processors and devices"),
    Column("device", TEXT, "what computed"),
    Column("controller", TEXT, "what Horovod coordinated its ranks by"),
    Column("horovod", YES, "Horovod was loaded"),
    Column("dataset", TEXT, "of weak scaling: fixed, or growing with the ranks"),
    Column("page_cache", TEXT, "as-found, or dropped before the point"),
    Column("data_mode", TEXT, "how patches reached the ranks"),
    Column("seed", WHOLE, "of the program"),
    Column("global_batch", WHOLE, "patches of all ranks together in a step", "patches"),
    Column("batch_per_rank", WHOLE, "patches of a rank in a step", "patches"),
    Column("learning_rate", REAL, "the peak"),
    Column("precision", TEXT, "of the arithmetic"),
    Column("training_patches", WHOLE, "in the training split", "patches"),
    Column("validation_patches", WHOLE, "in the validation split", "patches"),
    Column("patch_size", WHOLE, "edge of a patch", "pixels"),
    Column("channels", WHOLE, "of a patch"),
    Column("parameters", WHOLE, "of the network"),
    Column("flops_per_patch", REAL, "operations of a training step on one patch"),
    Column(
        "bytes_per_patch", REAL, "bytes that the convolutions of one must move, in its batch", "B"
    ),
    Column("gradient_bytes", WHOLE, "summed over the ranks in each step", "B"),
    Column("gradient_messages", LIST, "size of each message they travel in", "B"),
    Column("patches_per_second_median", REAL, "median over the steps of all ranks", "1/s"),
    Column("patches_per_second_p05", REAL, "5th percentile over the steps of all ranks", "1/s"),
    Column("patches_per_second_p95", REAL, "95th percentile over the steps of all ranks", "1/s"),
    Column("steps_measured", WHOLE, "steps after the warm-up"),
    Column("warmup_steps", WHOLE, "first steps, which are in no rate"),
    Column("common_share", REAL, "of copies: least share of one's steps in which all computed"),
    Column("step_seconds", REAL, "a steady step, mean over steps and ranks", "s"),
    Column("data_wait_seconds", REAL, "of it waiting for data", "s"),
    Column("compute_seconds", REAL, "of it computing", "s"),
    Column("exposed_communication_seconds", REAL, "of it communication that was not hidden", "s"),
    Column(
        "last_rank_exposed_seconds",
        REAL,
        "the same on the rank that was last to finish computing, median over steps",
        "s",
    ),
    Column("load_balance", REAL, "mean over largest computing time of the ranks (POP)"),
    Column("communication_efficiency", REAL, "largest computing time over the step (POP)"),
    Column("per_rank", OBJECT, "the four times of a step, of each rank", "s"),
    Column("startup_seconds", REAL, "until the first step", "s"),
    Column("staging_seconds", REAL, "of it copying patches to the hosts", "s"),
    Column("first_epoch_seconds", REAL, "the first epoch", "s"),
    Column("first_epoch_patches", WHOLE, "trained in the first epoch", "patches"),
    Column("steady_epoch_seconds", REAL, "an epoch after the first", "s"),
    Column("validation_seconds", REAL, "all validations", "s"),
    Column("validations", WHOLE, "how many"),
    Column("checkpoints_seconds", REAL, "all checkpoints", "s"),
    Column("before_resume_seconds", REAL, "earlier parts of a run that was resumed", "s"),
    Column("resets", WHOLE, "times that an elastic run began again with other ranks"),
    Column("epochs_run", WHOLE, "epochs, the last perhaps in part"),
    Column("steps_run", WHOLE, "steps, warm-up included"),
    Column("patches_trained", WHOLE, "in all steps", "patches"),
    Column("best_accuracy", REAL, "best accuracy on the validation split, 0 to 1"),
    Column("majority", REAL, "accuracy of always the commonest class, 0 to 1"),
    Column("target_wanted", REAL, "accuracy that was to be reached, 0 to 1"),
    Column("target", OBJECT, "accuracy, epoch and seconds where it was reached"),
    Column("emulated_step_seconds", REAL, "wait in the place of a step's computation", "s"),
    Column("emulated_spread", REAL, "its spread, as a share"),
    Column("allreduce", LIST, "bytes and median seconds of each message size"),
    Column("noise_scale", OBJECT, "gradient noise scale"),
    Column("ledger", OBJECT, "where the time of all ranks went", "s"),
    Column("energy", OBJECT, "energy by the machine's own counters", "J"),
    Column("environment", OBJECT, "variables that the study set"),
    Column("settings", OBJECT, "variables that rank 0 found"),
    Column("versions", OBJECT, "of the software"),
    Column("commit", TEXT, "of the program; + at its end: with changes that it does not hold"),
    Column("date", TIME, "when the run began to write its summary"),
    Column("last_lines", OBJECT, "last line of each rank's log, of points without figures"),
    Column("left_out", TEXT, "columns left empty because a spreadsheet would cut their text"),
)


def unknown(names: Sequence[str]) -> tuple[Column, ...]:
    """Columns for what this version does not describe, by name, so that their order is stable."""
    known = {column.name for column in COLUMNS}
    return tuple(
        Column(name, "any", "not described by this version of the schema")
        for name in sorted(set(names) - known)
    )


def data_package(title: str, columns: Sequence[Column]) -> dict[str, Any]:
    """What stands in datapackage.json beside results.csv."""
    fields = [
        {
            "name": column.name,
            "type": column.type,
            "description": column.meaning,
            **({"unit": column.unit} if column.unit else {}),
        }
        for column in columns
    ]
    return {
        "name": "scaling-study",
        "title": title,
        "version": VERSION,
        "resources": [
            {
                "name": "results",
                "path": "results.csv",
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                "schema": {"fields": fields, "missingValues": [""]},
            }
        ],
    }
