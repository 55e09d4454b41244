"""What is found in an archive, what it is called, and what is left out with a line."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from cloudmask.files import write_whole
from seaice.io import kinds, sources, stamp
from seaice.io.listing import LeftOut, Listed

NAME = "S2A_MSIL1C_20191103T204921_N0208_R128_T58CEU_20191103T214131"


def touch(top, *names):
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    return top


def found(*places, apart_from=Path("out")):
    return [source.name for source in sources.find([*map(str, places)], apart_from=apart_from)]


def test_scenes_are_called_by_their_path_in_the_archive(tmp_path, capsys):
    touch(tmp_path, "ice_01.png", "north/ice_01.tif", "north/deep/ice_01.JP2", "south/ice.02.jpg")
    names = ["ice_01", "north__deep__ice_01", "north__ice_01", "south__ice.02"]
    assert found(tmp_path) == names
    assert found(tmp_path / "north/ice_01.tif", tmp_path / "south") == ["ice.02", "ice_01"]
    assert capsys.readouterr().err == ""


def test_a_file_that_two_places_hold_is_one_scene(tmp_path):
    touch(tmp_path, "north/ice_01.tif")
    assert found(tmp_path, tmp_path / "north", tmp_path / "north/ice_01.tif") == ["north__ice_01"]
    (tmp_path / "north/again.tif").symlink_to(tmp_path / "north/ice_01.tif")
    assert len(found(tmp_path)) == 1


def test_two_files_of_one_name_are_told(tmp_path):
    touch(tmp_path, "ice.png", "ice.tif")
    with pytest.raises(ValueError, match=r"two scenes are named ice: .*ice.png and .*ice.tif"):
        found(tmp_path)
    touch(tmp_path, "a/b.png", "a__b.png")
    (tmp_path / "ice.png").unlink()
    with pytest.raises(ValueError, match="two scenes are named a__b"):
        found(tmp_path)


def test_what_is_no_scene_is_named_by_kind_and_number(tmp_path, capsys):
    touch(
        *(tmp_path, "ice.tif", "ice.tif.aux.xml", "ice.tfw", "mask.nc", "other.nc", "notes.txt"),
        *("README", ".hidden", f"{NAME}-ql.jpg", "preview/ice.png", "QI_DATA/MSK_CLOUDS_B00.jp2"),
        *("T58CEU_20191103T204921_B04.jp2", "T58CEU_20191103T204921_SCL_20m.jp2", "data.zip"),
        *(
            "HTML/map.png",
            "AUX_DATA/ice.tif",
            "banner_1.png",
            "S3A_OL.SEN3/map.png",
            "old.SAFE/measurement/vv.tiff",
        ),
    )
    assert found(tmp_path) == ["ice"]
    assert capsys.readouterr().err == (
        "warning: left out, being no scenes: .txt files 1, banners 1, files in AUX_DATA 1, "
        "files in HTML 1, files without a suffix 1, "
        "masks 1, masks .nc 2, masks in QI_DATA 1, previews 1, products of other kinds 2, "
        "quicklooks 1, sidecars 2, single bands without their product 1, "
        "zip files not named as Sentinel-2 products 1\n"
    )


def test_what_this_program_wrote_is_no_scene(tmp_path, capsys):
    touch(tmp_path, "archive/a.png", "archive/out/labels/b.tif", "archive/out/pictures/b.png")
    touch(tmp_path, "archive/out/records/b.json", "ice/scenes/c.png", "ice/truth/c.png")
    touch(tmp_path, "ice/truth/c.json", "archive/pictures/d.png", "archive/labels/e.png")
    assert found(tmp_path / "archive") == ["a", "labels__e", "pictures__d"]
    assert "folders of labels, pictures or truth 3" in capsys.readouterr().err
    assert found(tmp_path / "ice") == ["scenes__c"]
    capsys.readouterr()
    assert found(tmp_path / "archive", apart_from=tmp_path / "archive/out") == [
        *("a", "labels__e", "pictures__d")
    ]
    assert capsys.readouterr().err == ""


def test_files_and_folders_are_left_out_when_they_are_something_else(tmp_path):
    touch(tmp_path, "a.png", "landmask.tiff", "land/a.png", "out/b.png")
    apart = [tmp_path / "landmask.tiff", tmp_path / "land", tmp_path / "out"]
    assert found(tmp_path, apart_from=apart) == ["a"]


def test_links_that_go_round_or_nowhere_do_not_stop_the_search(tmp_path):
    touch(tmp_path, "north/a.png")
    (tmp_path / "north/round").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    listed = sources.find([str(tmp_path)], apart_from=tmp_path / "out")
    assert [(source.name, source.size_bytes) for source in listed] == [("gone", 0), ("north__a", 7)]


AS_NOBODY = """
import os, sys
from seaice.io import sources
if os.getuid() == 0:  # who may read everything; nobody may not
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    found = sources.find([sys.argv[1]], apart_from=[])
except ValueError as error:
    print(error)
else:
    print([source.name for source in found])
    print(sorted(found.unreadable))
"""


def as_nobody(place):
    """What is found, in lines, and what is told, by a user who may not read everything."""
    words = [sys.executable, "-c", AS_NOBODY, str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture
def open_to_all():
    """A folder that any user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_cannot_be_listed_is_told_and_the_others_are_searched(open_to_all):
    """What it holds is not withdrawn, so the caller is told that the list is not whole."""
    top = touch(open_to_all, "a.png", "dark/b.png", "dark.SAFE/MTD_MSIL1C.xml", "deep/er/c.png")
    closed = [top / "dark", top / "dark.SAFE", top / "deep/er"]
    for folder in closed:
        folder.chmod(0)
    try:
        out, err = as_nobody(top)
        alone, _ = as_nobody(top / "dark")
        within, _ = as_nobody(top / "dark/b.png")
    finally:
        for folder in closed:
            folder.chmod(0o755)
    assert out == ["['a']", str(sorted(map(str, closed)))]
    assert err == [
        f"warning: {folder} cannot be read (Permission denied): what it holds is not known"
        for folder in closed
    ]
    for lines, place in ((alone, "dark"), (within, "dark/b.png")):
        assert lines[0].startswith(f"{top / place} cannot be read (Permission denied)")
    assert sources.find([str(top)], apart_from=[]).unreadable == ()


def test_a_product_is_one_scene_of_its_own_name(tmp_path, capsys):
    """However it is packed, wherever it lies; of two copies one is taken, and that is told."""
    touch(tmp_path, f"2019/{NAME}.SAFE/GRANULE/x/IMG_DATA/T.jp2", f"2019/{NAME}.SAFE/HTML/b.png")
    touch(tmp_path, f"other/{NAME.replace('N0208', 'N0400')}.zip", f"{NAME.lower()}.png")
    touch(tmp_path, "renamed.SAFE/MTD_MSIL1C.xml", f"{NAME.replace('S2A', 'S2C')}/IMG.jp2")
    names = [NAME, NAME.replace("N0208", "N0400"), NAME.replace("S2A", "S2C")]
    assert found(tmp_path) == [*names, "renamed", NAME.lower()]
    assert capsys.readouterr().err == ""
    touch(tmp_path, f"2019/{NAME}.SAFE.zip", f"zips/{NAME}.zip")
    listed = sources.find([str(tmp_path)], apart_from=tmp_path / "out")
    assert [source.name for source in listed] == [*names, "renamed", NAME.lower()]
    assert listed[0].place.endswith("2019/" + NAME + ".SAFE")
    assert listed[0].size_bytes == 14
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("is left out: " in line and "is the same product" in line for line in lines)


def test_a_product_changes_with_any_of_its_files(tmp_path):
    """Also where the sum of the sizes and the newest date stay."""
    top = touch(tmp_path, f"{NAME}.SAFE/MTD_MSIL1C.xml", f"{NAME}.SAFE/x.jp2") / f"{NAME}.SAFE"

    def state():
        (one,) = sources.find([str(top)], apart_from=tmp_path / "out")
        assert (one.name, one.size_bytes) == (NAME, 14)
        return one.modified

    states = [state()]
    os.utime(top / "x.jp2", ns=(9, 1000))
    states.append(state())
    (top / "x.jp2").rename(top / "y.jp2")
    states.append(state())
    (top / "y.jp2").write_bytes(b"conten")
    (top / "MTD_MSIL1C.xml").write_bytes(b"content+")
    states.append(state())
    assert len(set(states)) == len(states)
    assert state() == states[-1] < 2**63


def test_names_that_no_file_can_have_are_shortened(tmp_path):
    """Labels, records and what is written aside have suffixes of their own."""
    deep = "/".join(["f" * 100, "g" * 100, "scene"])
    wide = "\N{SNOWFLAKE}" * 80
    touch(tmp_path, f"{deep}1.png", f"{deep}2.png", "n" * 251 + ".png", f"{wide}.tif", "short.png")
    names = found(tmp_path)
    assert len(set(names)) == 5
    assert all(len(name.encode()) <= kinds.LONGEST_KEY for name in names)
    assert names == found(tmp_path)
    assert "short" in names
    for name in names:
        write_whole(tmp_path / "out" / f"{name}.json", b"")
    edge = "n" * kinds.LONGEST_KEY
    assert kinds.key([f"{edge}.png"]) == edge
    assert kinds.key([f"{edge}m.png"]).startswith("n" * (kinds.LONGEST_KEY - 17) + "-")
    assert len(kinds.key([NAME + "_" + "a" * 180 + ".zip"])) == kinds.LONGEST_KEY


def test_what_is_no_plain_file_is_left_out_and_not_waited_for(tmp_path, capsys):
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    assert found(tmp_path) == ["a"]
    assert "pipes and devices 2" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is no file that can be read twice"):
        found(tmp_path / "pipe.png")


def test_scenes_and_charts_that_were_made_here_are_no_scenes(tmp_path, capsys):
    touch(tmp_path, "a.png", "ice/series.png", "ice/series.csv", "ice/series.nc", "b/series.png")
    key = np.array(stamp.KEY.format(version=2, digest="0" * 64))
    for name, arrays in (("a", {"key": key}), ("b", {}), ("c", {"key": np.array("mine")})):
        (tmp_path / "p-scenes").mkdir(exist_ok=True)
        np.savez(tmp_path / f"p-scenes/{name}.npz", image=np.zeros((2, 2, 3), np.uint8), **arrays)
    touch(tmp_path, "p-scenes/d.npz")
    assert found(tmp_path) == ["a", "b__series", "p-scenes__b", "p-scenes__c", "p-scenes__d"]
    assert "charts and .npz scenes that were made here 2" in capsys.readouterr().err
    # Whoever gives that very folder means it.
    assert found(tmp_path / "p-scenes") == ["a", "b", "c", "d"]


def test_folders_that_an_archive_links_to_belong_to_it(tmp_path):
    touch(tmp_path, "disk/deep/a.png", f"disk/{NAME}.SAFE/MTD_MSIL1C.xml")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/2019").symlink_to(tmp_path / "disk/deep")
    (tmp_path / "archive/products").symlink_to(tmp_path / "disk")
    assert found(tmp_path / "archive") == ["2019__a", NAME]


def test_what_is_found_again_is_counted(tmp_path, capsys):
    touch(tmp_path, "north/a.png")
    (tmp_path / "north/again.png").symlink_to(tmp_path / "north/a.png")
    (tmp_path / "round").symlink_to(tmp_path)
    assert found(tmp_path) == ["north__a"]
    told = "files that were found before 1, folders that were searched before 1"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["nowhere"], "does not exist"),
        (["notes.txt"], "is no picture: expected .png"),
        (["T58CEU_20191103T204921_B04.jp2"], r"no scene by its name \(single bands without"),
        (["old.SAFE"], "is no Sentinel-2 product"),
        ([], "no scenes found"),
    ],
)
def test_places_without_scenes_are_one_line(tmp_path, names, problem):
    touch(tmp_path, "notes.txt", "old.SAFE/map.png", "T58CEU_20191103T204921_B04.jp2")
    with pytest.raises(ValueError, match=problem):
        found(*[tmp_path / name for name in names] or [tmp_path])


def test_files_that_another_system_lists_are_told_apart_by_the_same_rules():
    left_out = LeftOut()
    places = ("a.png", f"{NAME}.SAFE/GRANULE/x.jp2", f"deep/{NAME}.zip", "b/c.tif", "b/c.nc")
    files = [Listed(f"s3a://bucket/{place}", tuple(place.split("/")), 1, 2) for place in places]
    listed = sources.scenes_of(files, left_out)
    assert [source.name for source in listed] == ["a", NAME, "b__c"]
    assert left_out.kinds == {
        "files of .SAFE folders, which are read from disks alone": 1,
        "masks .nc": 1,
    }


def test_suffixes_are_those_of_the_kinds_that_are_read():
    assert set(kinds.SUFFIXES) == {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".jp2", ".npz"}
