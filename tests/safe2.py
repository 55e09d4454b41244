"""Small Sentinel-2 products, as they lie in archives: folders and their zip files."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import rasterio
from rasterio.transform import Affine

SIZE = 120  # rows and columns at 10 m
NO_DATA = 12
"""columns at the left, at 10 m, without a measurement"""
CORNER = (500000.0, 1600000.0)
TCI_TOP = {"L1C": 0.3558, "L2A": 0.2}
IDS = {"B02": 1, "B03": 2, "B04": 3, "B08": 7, "B11": 11}
NAME = "S2A_MSI{level}_20191103T204921_N{baseline}_R128_T58CEU_20191103T214131"

XML = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{number}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/{level}.xsd">
 <n1:General_Info>
  <Product_Info>
   <PRODUCT_START_TIME>2019-11-03T20:49:21.024Z</PRODUCT_START_TIME>
   <PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
   <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
   <Datatake datatakeIdentifier="GS2A"><SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME></Datatake>
  </Product_Info>
  <Product_Image_Characteristics>
   <Special_Values>
    <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
   </Special_Values>
   {values}
  </Product_Image_Characteristics>
 </n1:General_Info>
</n1:Level-{number}_User_Product>
"""


def reflectance(seed=0):
    """Band -> (120, 120) float: snow, young ice, water; 20 m bands in blocks of 2 x 2."""
    rng = np.random.default_rng(seed)
    row, column = np.indices((SIZE, SIZE))
    snow, ice = column >= SIZE // 2, (column < SIZE // 2) & (row < SIZE // 2)
    levels = {"B02": (0.33, 0.17, 0.02), "B03": (0.32, 0.15, 0.015), "B04": (0.31, 0.13, 0.01)}
    levels |= {"B08": (0.3, 0.1, 0.005), "B11": (0.04, 0.03, 0.002)}
    found = {}
    for band, (bright, gray, dark) in levels.items():
        value = np.where(snow, bright, np.where(ice, gray, dark))
        found[band] = value + rng.integers(0, 20, value.shape) * 1e-4
    found["B11"] = found["B11"][::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    return found


def stored(seed=0, baseline="0208"):
    """Band -> (120, 120) uint16 as in a product."""
    offset = 1000 if baseline >= "0400" else 0
    values = {}
    for band, value in reflectance(seed).items():
        values[band] = np.rint(value * 10000 + offset).astype(np.uint16)
        values[band][:, :NO_DATA] = 0
    return values


def true_colour(seed=0, level="L1C"):
    """(120, 120, 3) uint8, of which 0 is no data."""
    bands = reflectance(seed)
    value = np.stack([bands[band] for band in ("B04", "B03", "B02")], axis=-1)
    found = np.clip(np.rint(value / TCI_TOP[level] * 255), 1, 255).astype(np.uint8)
    found[:, :NO_DATA] = 0
    return found


def classification(seed=0):
    """(60, 60) uint8 of SCL: snow 11, water 6, a square of clouds and shadow, no data 0."""
    found = np.full((SIZE // 2, SIZE // 2), 11, np.uint8)
    found[SIZE // 4 :, : SIZE // 4] = 6
    found[10:14, 40:48] = np.repeat([8, 9, 10, 3], 2)
    found[10, 50] = 7
    found[:, : NO_DATA // 2] = 0
    return found


def jp2(path, array, metres):
    """(H, W) or (H, W, 3) -> a lossless JPEG 2000 with its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = array[None] if array.ndim == 2 else np.moveaxis(array, 2, 0)
    layout = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    options = {"quality": "100", "reversible": "yes", "blockxsize": 64, "blockysize": 64}
    place = Affine(metres, 0, CORNER[0], 0, -metres, CORNER[1])
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        dtype=bands.dtype,
        crs="EPSG:32758",
        transform=place,
        **layout,
        **options,
    ) as file:
        file.write(bands)


def metadata(name, level, baseline):
    values = "<QUANTIFICATION_VALUE unit='none'>10000</QUANTIFICATION_VALUE>"
    offsets = "RADIO_ADD_OFFSET"
    if level == "L2A":
        values = (
            "<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit='none'>10000"
            "</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>"
        )
        offsets = "BOA_ADD_OFFSET"
    if baseline >= "0400":
        listed = "".join(f"<{offsets} band_id='{n}'>-1000</{offsets}>" for n in range(13))
        values += f"<Offset_List>{listed}</Offset_List>"
    dotted = f"{baseline[:2]}.{baseline[2:]}"
    return XML.format(level=level, number=level[1:], name=name, baseline=dotted, values=values)


def build(folder, *, name=None, level="L1C", baseline="0208", tci=True, bands=True, seed=0):
    """FOLDER/NAME.SAFE; its path. `tci` and `bands` say which images are there."""
    name = name or NAME.format(level=level, baseline=baseline)
    top = Path(folder) / f"{name}.SAFE"
    granule = top / f"GRANULE/{level}_T58CEU_A013871_20191103T204921"
    images = granule / "IMG_DATA"
    start = "T58CEU_20191103T204921"

    def place(image, metres):
        if level == "L1C":
            return images / f"{start}_{image}.jp2"
        return images / f"R{metres}m/{start}_{image}_{metres}m.jp2"

    if tci:
        jp2(place("TCI", 10), true_colour(seed, level), 10)
    for band, values in stored(seed, baseline).items() if bands else ():
        metres = 20 if band == "B11" else 10
        jp2(place(band, metres), values[:: metres // 10, :: metres // 10], metres)
    if level == "L2A":
        jp2(place("SCL", 20), classification(seed), 20)
        jp2(images / f"R60m/{start}_TCI_60m.jp2", true_colour(seed, level)[::6, ::6].copy(), 60)
    top.mkdir(parents=True, exist_ok=True)
    (top / f"MTD_MSI{level}.xml").write_text(metadata(name, level, baseline))
    (granule / "MTD_TL.xml").write_text("<tile/>")
    for extra in ("HTML/banner_1.png", "HTML/star_bg.jpg", f"{name}-ql.jpg", "preview.png"):
        (top / extra).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(top / extra), np.full((40, 90, 3), 200, np.uint8))
    (top / "HTML/UserProduct_index.html").write_text("<html></html>")
    jp2(granule / "QI_DATA/MSK_CLASSI_B00.jp2", np.zeros((20, 20, 3), np.uint8), 60)
    jp2(granule / f"QI_DATA/{start}_PVI.jp2", np.full((34, 34, 3), 90, np.uint8), 320)
    (top / "AUX_DATA").mkdir()
    (top / "manifest.safe").write_text("<xfdu/>")
    return top


def packed(product, path=None, *, inside=True):
    """NAME.zip beside NAME.SAFE, as downloaded; its path."""
    path = path or product.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for one in sorted(product.rglob("*")):
            if one.is_file():
                start = product.parent if inside else product
                file.write(one, one.relative_to(start).as_posix())
    return path
