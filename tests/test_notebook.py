"""The notebook runs from top to bottom, on scenes that it makes itself."""

import csv
import sys
from pathlib import Path

import pytest

nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "notebooks/sea_ice.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_notebook_runs_and_its_map_tells_what_its_series_tells(tmp_path, plain_environment):
    notebook = nbformat.read(PATH, as_version=4)
    after = nbformat.v4.new_code_cell(
        "for date in dates:\n"
        "    labels = sorted((FOLDER / 'labels' / 'labels').glob(f'*_{date}.tif'))\n"
        "    mosaic = merge(labels)[0]\n"
        "    drawn = np.isfinite(concentration(date)[0]).mean()\n"
        "    print(date, (mosaic < 2).sum() / (mosaic < 3).sum(), drawn)"
    )
    notebook.cells.append(after)
    client = nbclient.NotebookClient(
        notebook, timeout=600, startup_timeout=240, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=plain_environment | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    pictures = [
        o
        for cell in notebook.cells
        for o in cell.get("outputs", ())
        if "png" in str(o.get("data", {}).keys())
    ]
    assert len(pictures) == 3
    with (tmp_path / "sea-ice/series/series.csv").open() as file:
        series = {
            row["period"].replace("-", ""): float(row["concentration"])
            for row in csv.DictReader(file)
            if (row["region"], row["tile"]) == ("all", "all")
        }
    told = "".join(output.get("text", "") for output in notebook.cells[-1]["outputs"])
    lines = [line.split() for line in told.splitlines()]
    assert [date for date, _, _ in lines] == sorted(series)
    for date, share, drawn in lines:
        assert float(share) == pytest.approx(series[date], abs=1e-5)
        assert float(drawn) > 0.5


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
