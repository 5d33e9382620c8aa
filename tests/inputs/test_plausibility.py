"""Values and attributes that cannot be right are told, and what is odd but right is read."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.climatology.places import GLOBAL, select
from climdask.errors import ClimdaskError, InconsistentFile, UnreadableFile
from climdask.inputs.attributes import numbers
from climdask.inputs.decoding import Decoder
from climdask.inputs.netcdf import read_header
from climdask.inputs.plausibility import check_values
from climdask.inputs.reading import read_years
from climdask.planning.memory import CHUNK_COPIES, fit
from tests.samples import sample_values, write_year

NAN = np.nan


def read(path: Path, variable: str = "tas", **more: Any) -> Block:
    """Read 2001 of the whole grid, and check it as a run does."""
    header = read_header(path, variable)
    axis, cells = DayAxis(header.calendar, "drop"), select(header.grid, (GLOBAL,))
    (block,) = read_years(path, header, axis, cells, [2001], **more)
    check_values(path, header, axis, cells, block)
    return block


def with_value(variable: str, value: float) -> np.ndarray:
    values = sample_values(variable, 2001, missing=0)
    values[4, 2, 1] = value
    return values


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF3_CLASSIC"])
@pytest.mark.parametrize(
    ("variable", "value", "units"),
    [
        ("tas", -9999.0, "K"), ("tas", -1.0, "K"), ("tas", 607.0, "K"), ("pr", 1e33, "mm"),
        ("pr", 1e20, "mm"), ("pr", -9999.0, "mm"), ("pr", 32767.0, "1"), ("tas", -300.0, "degC"),
    ],
)  # fmt: skip
def test_a_fill_value_that_is_not_declared_is_told_with_place_and_key(
    tmp_path: Path, format: str, variable: str, value: float, units: str
) -> None:
    values = with_value(variable, value)
    if units == "degC":
        values = np.where(values == value, value, values - 273.15).astype("f4")
    path = tmp_path / "x.nc"
    write_year(path, variable, values=values, fill=None, format=format, attributes={"units": units})
    with pytest.raises(InconsistentFile) as caught:
        read(path, variable)
    told = str(caught.value)
    assert f"{variable} is {np.float32(value)} {units} in 1 places" in told
    assert "first on 2001-01-05 at lat 31, lon 73.5" in told
    assert f"missing_values: [{np.float32(value)}]" in told
    masked = read(path, variable, missing_values=[value])
    assert np.isnan(masked.values).sum() == 1


@pytest.mark.parametrize(
    ("variable", "values", "attributes"),
    [
        ("tas", (-3.0, 4.0), {"units": "K", "standard_name": None, "long_name": "anomaly"}),
        ("tas", (-3.0, 4.0), {"units": "K"}),
        ("tas", (-89.2, 50.0), {"units": "degC"}),
        ("pr", (-1e-9, 3e-4), {}),
        ("zg", (9990.0, 9999.0), {"units": "m"}),
        ("zg", (-999.0, 500.0), {"units": "m"}),
    ],
)
def test_odd_values_that_can_be_are_read(
    tmp_path: Path, variable: str, values: tuple[float, float], attributes: dict[str, Any]
) -> None:
    field = np.linspace(*values, 365 * 20).reshape(365, 4, 5).astype("f4")
    write_year(tmp_path / "x.nc", variable, values=field, attributes=attributes)
    np.testing.assert_array_equal(np.sort(read(tmp_path / "x.nc", variable).values, None),
                                  np.sort(field, None))  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "attributes", "expected"),
    [
        (np.float32([1, -9999]), {"missing_value": "-9999"}, [1, NAN]),
        (np.float32([1, -9999, 5]), {"missing_value": "-9999.f, 5"}, [1, NAN, NAN]),
        (np.float64([1, -9999.9]), {"missing_value": np.float32(-9999.9)}, [1, NAN]),
        (np.float32([1, 5]), {"valid_min": "2"}, [NAN, 5]),
        (np.float32([1, 5]), {"valid_range": ["2", "6"]}, [NAN, 5]),
        (np.float32([1, 5]), {"valid_max": np.float32(NAN)}, [1, 5]),
        (np.array([1, 2], "i2"), {"scale_factor": "0.5"}, [0.5, 1]),
        (np.array([1, 2], "i2"), {"scale_factor": np.array([0.5])}, [0.5, 1]),
        (np.array([1, 255], "u1"), {"_Unsigned": "false"}, [1, -1]),
    ],
)
def test_numbers_written_as_text_or_in_another_type_are_meant_as_such(
    raw: np.ndarray, attributes: dict[str, Any], expected: list[float]
) -> None:
    np.testing.assert_array_equal(Decoder(raw.dtype, attributes)(raw), np.float32(expected))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale_factor", ""), ("scale_factor", "x"), ("scale_factor", np.array([1.0, 2.0])),
        ("scale_factor", 0.0), ("scale_factor", NAN), ("scale_factor", np.array([], "f4")),
        ("add_offset", np.inf), ("add_offset", "none"), ("valid_range", np.array([1.0])),
        ("valid_range", np.array([1, 2, 3])), ("valid_min", "low"), ("missing_value", "x1"),
        ("_Unsigned", "perhaps"),
    ],
)  # fmt: skip
def test_an_attribute_that_cannot_be_used_is_told(name: str, value: Any) -> None:
    with pytest.raises(InconsistentFile, match=f"a.nc: tas: attribute {name} is .*expected"):
        Decoder(np.dtype("i2"), {name: value}, where="a.nc: tas")


HOSTILE = st.one_of(
    st.text(max_size=5), st.floats(), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=4),
    st.lists(st.floats(), max_size=3).map(np.array), st.lists(st.text(max_size=3), max_size=3),
)  # fmt: skip


@pytest.mark.slow
@given(
    st.dictionaries(
        st.sampled_from(
            ["_FillValue", "missing_value", "scale_factor", "add_offset", "valid_min", "valid_max",
             "valid_range", "_Unsigned"]
        ),
        HOSTILE,
    ),
    st.sampled_from(["i1", "u2", ">i4", "f4", "f8"]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_whatever_an_attribute_is_only_our_errors_come_out(
    attributes: dict[str, Any], dtype: str
) -> None:
    raw = np.array([0, 1, 100], dtype=dtype)
    try:
        decoder = Decoder(raw.dtype, attributes)
        got = decoder(raw)
    except ClimdaskError:
        return
    scale, offset = (
        float(found[0]) if found.size else default
        for found, default in (
            (numbers("", attributes, "scale_factor"), 1.0),
            (numbers("", attributes, "add_offset"), 0.0),
        )
    )
    with np.errstate(over="ignore"):
        unpacked = (raw.astype("f8") * scale + offset).astype("f4")
    kept = ~np.isnan(got)
    np.testing.assert_array_equal(got[kept], unpacked[kept])


def test_units_in_latin_1_keep_their_letters(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(path)
    with h5py.File(path, "r+") as file:
        del file["tas"].attrs["units"]
        file["tas"].attrs["units"] = np.bytes_("°C".encode("latin-1"))
        file["tas"].attrs["comment"] = np.bytes_("µ".encode())
    header = read_header(path, "tas")
    assert header.units == "°C"
    assert dict(header.attributes)["comment"] == "µ"


def test_a_file_behind_a_user_block_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, deflate=True)
    expected = read(path).values
    path.write_bytes(b"#!user block".ljust(1024, b"\0") + path.read_bytes())
    np.testing.assert_array_equal(read(path).values, expected)


def test_a_filter_that_cannot_be_undone_is_named_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(path)
    with h5py.File(path, "r+") as file:
        old = file["tas"]
        about = {k: old.attrs[k] for k in ("units", "_FillValue")}
        values = old[:]
        del file["tas"]
        new = file.create_dataset("tas", data=values, chunks=(9, 4, 5), compression="lzf")
        new.attrs.update(about)
        for axis, name in enumerate(("time", "lat", "lon")):
            new.dims[axis].attach_scale(file[name])
    with pytest.raises(UnreadableFile, match=r"filter lzf.*not damaged.*h5repack"):
        read(path)


def test_a_header_of_absurd_size_is_told_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    with netCDF4.Dataset(path, "w") as dataset:
        for name, units, n in (
            ("time", "days since 2000-01-01", 1),
            ("lat", "degrees_north", 10**6),
            ("lon", "degrees_east", 10**6),
        ):
            dataset.createDimension(name, n)
            dataset.createVariable(name, "f8", (name,), chunksizes=(1,)).units = units
        dataset.createVariable("tas", "f4", ("time", "lat", "lon"), chunksizes=(1, 9, 9))
    with pytest.raises(InconsistentFile, match="1,000,000 x 1,000,000 cells; expected at most"):
        read_header(path, "tas")


def test_chunks_larger_than_a_block_count_as_memory_of_each_reading_thread() -> None:
    def needs(chunk: int) -> int:
        return fit(
            100, window=5, branches=1, threads=2, lookaheads=range(3, 0, -1), limit=None,
            chunk_bytes=chunk,
        ).n_bytes  # fmt: skip

    assert needs(400) == needs(0)
    assert needs(1400) == needs(0) + 2 * CHUNK_COPIES * 1000


def test_the_mean_of_packed_values_is_that_of_cdo_in_double_within_the_bound(
    tmp_path: Path,
) -> None:
    path, mean = tmp_path / "tas.nc", tmp_path / "mean.nc"
    write_year(path, missing=0, dtype="i2", packing=(0.01, 280.0), fill=-32768)
    subprocess.run(["cdo", "-s", "-b", "F64", "timmean", path, mean], check=True)
    with netCDF4.Dataset(mean) as dataset:
        expected = np.asarray(dataset["tas"][0], dtype="f8")
    block = read(path).values.astype("f8")
    got = block.mean(axis=0).astype("f4").reshape(expected.shape)
    assert (abs(got - expected) <= 2.0**-23 * abs(block).max()).all()
