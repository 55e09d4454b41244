"""The browser helper itself: it must see what is wrong with a page, or pages pass untested."""

from __future__ import annotations

import pytest
from browser import page

GOOD = """<!doctype html><title>good</title><meta name="viewport" content="width=device-width">
<img src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' height='5'/%3E">
<p id="p">text</p><style>@media print { #p { display: none } }</style>"""
BAD = """<!doctype html><title>bad</title><img src="missing.png">
<script>console.warn("careful", 7); undefinedName.x = 1</script>"""


def test_sound_page_is_silent_and_its_images_load(tmp_path):
    path = tmp_path / "good.html"
    path.write_text(GOOD)
    shot = tmp_path / "shot.png"
    found = page(path, script="document.images[0].naturalWidth", screenshot=shot)
    assert (found.console, found.failed, found.value) == ((), (), 9)
    assert found.requests == (path.as_uri(),)
    assert shot.read_bytes().startswith(b"\x89PNG")


def test_faults_of_a_page_are_told(tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(BAD)
    found = page(path)
    assert "warning: careful 7" in found.console
    assert any("undefinedName is not defined" in line for line in found.console)
    assert [line for line in found.failed if "missing.png" in line]
    assert found.value == "bad"


def test_width_media_and_promises_are_obeyed(tmp_path):
    path = tmp_path / "good.html"
    path.write_text(GOOD)
    shown = "getComputedStyle(document.getElementById('p')).display"
    script = f"Promise.resolve([innerWidth, {shown}])"
    assert page(path, script=script, width=390).value == [390, "block"]
    assert page(path, script=script, media="print").value == [1200, "none"]


def test_script_that_fails_is_an_error(tmp_path):
    path = tmp_path / "good.html"
    path.write_text(GOOD)
    with pytest.raises(RuntimeError, match="script failed"):
        page(path, script="nothing.at.all")
