"""Fewer digits: how near the rounded values are, and who understands what is said of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from climdask.climatology.rounding import CONTAINER, MOST_DIGITS, bits_for, rounded
from climdask.outputs.netcdf import FILL
from climdask.running.run import run
from tests.outputs.test_netcdf import WINDOW, call, cf_findings, spec_like, write_sample
from tests.readback import contents
from tests.samples import write_archive
from tests.workflows import small

DIGITS = range(1, MOST_DIGITS + 1)
LEAST_NORMAL = np.finfo(np.float32).smallest_normal
GREATEST = np.finfo(np.float32).max

anything = arrays(
    np.uint32, st.integers(1, 30), elements=st.integers(0, 2**32 - 1)
).map(lambda bits: bits.view(np.float32))  # fmt: skip
plain = arrays(np.float32, st.integers(1, 30), elements=st.floats(-1e5, 1e5, width=32)) | arrays(
    np.float32, 5, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


@given(anything | plain, st.sampled_from(DIGITS))
def test_every_number_is_kept_to_its_digits_and_nothing_else_changes(
    values: np.ndarray, digits: int
) -> None:
    before = values.copy()
    got = rounded(values, digits)
    np.testing.assert_array_equal(values.view(np.uint32), before.view(np.uint32))
    assert (got.dtype, got.shape) == (np.float32, values.shape)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(values))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(values))
    np.testing.assert_array_equal(np.signbit(got), np.signbit(values))
    is_normal = np.abs(values) >= LEAST_NORMAL
    assert (got[values == 0] == 0).all()
    assert (got[is_normal] != 0).all()
    finite = np.isfinite(values)
    exact, near = values[finite].astype(np.float64), got[finite].astype(np.float64)
    # Subnormal numbers have fewer bits than they would need: their error is that of the least
    # normal one. No climate variable is near 1e-38.
    scale = np.maximum(np.abs(exact), float(LEAST_NORMAL))
    assert (np.abs(near - exact) <= 0.5 * 10.0**-digits * scale).all()
    again = rounded(got, digits)
    np.testing.assert_array_equal(again.view(np.uint32), got.view(np.uint32))


@given(plain, st.sampled_from(DIGITS))
def test_the_other_bits_are_zero_and_rounding_is_to_the_nearest(
    values: np.ndarray, digits: int
) -> None:
    dropped = 23 - bits_for(digits)
    got = rounded(values, digits).view(np.uint32).astype(np.int64)
    bits = values.view(np.uint32).astype(np.int64)
    kept_whole = rounded(values, digits) == values
    assert ((got % (1 << dropped) == 0) | kept_whole).all()
    whole = np.abs(values) <= GREATEST / 2
    assert (np.abs(got - bits)[whole] <= 1 << (dropped - 1)).all()


@pytest.mark.parametrize("digits", DIGITS)
def test_digits_that_are_kept_are_those_that_are_printed(digits: int) -> None:
    values = np.float32([287.65432, 1.2345678e-5, -99999.99, 0.1, 3e38])
    for value, got in zip(values, rounded(values, digits), strict=True):
        assert abs(float(f"{got:.{digits + 2}e}") / float(value) - 1) <= 0.51 * 10.0**-digits
    assert bits_for(digits) == [4, 7, 10, 14, 17, 20][digits - 1]


def test_arrays_of_any_order_are_rounded_in_place_of_nothing() -> None:
    values = np.random.default_rng(0).normal(280, 9, (6, 5, 4)).astype("f4")
    for view in (values[::2], values.T, values[:, 1:3, ::-1]):
        np.testing.assert_array_equal(rounded(view, 3), rounded(view.copy(), 3))
        assert rounded(view, 3).shape == view.shape


def test_nan_of_any_kind_stays_nan() -> None:
    payloads = [0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FBFFFFF]
    values = np.array(payloads, dtype=np.uint32).view(np.float32)
    for digits in DIGITS:
        assert np.isnan(rounded(values, digits)).all()


def test_what_would_become_infinite_stays() -> None:
    assert rounded(np.float32([GREATEST, -GREATEST]), 1).tolist() == [GREATEST, -GREATEST]


@pytest.mark.parametrize("digits", DIGITS)
def test_netcdf_rounds_to_the_same_bits(tmp_path: Path, digits: int) -> None:
    """But half-way up, where we round to even and the library away from zero."""
    if not netCDF4.__has_quantization_support__:
        pytest.skip("this netCDF library cannot quantize")
    bits = np.random.default_rng(digits).integers(0x00800000, 0x7F000000, 20_000, dtype=np.uint32)
    values = (bits | (bits % 2) << 31).view(np.float32)
    with netCDF4.Dataset(tmp_path / "x.nc", "w") as dataset:
        dataset.createDimension("x", values.size)
        how: dict[str, Any] = {"quantize_mode": "BitRound", "significant_digits": bits_for(digits)}
        made = dataset.createVariable("x", "f4", ("x",), fill_value=FILL, **how)
        made.set_auto_maskandscale(False)
        made[:] = values
    with netCDF4.Dataset(tmp_path / "x.nc") as dataset:
        dataset.set_auto_maskandscale(False)
        theirs = dataset["x"][:]
        assert dataset["x"]._QuantizeBitRoundNumberOfSignificantBits == bits_for(digits)
    half_way = bits % (1 << (23 - bits_for(digits))) == 1 << (22 - bits_for(digits))
    ours = rounded(values, digits).view(np.uint32)
    np.testing.assert_array_equal(ours[~half_way], theirs.view(np.uint32)[~half_way])
    assert half_way.mean() < 0.2


# ---------------------------------------------------------------- files


def write_rounded(tmp_path: Path, digits: int | None, **more: Any) -> tuple[Path, np.ndarray]:
    """Write a sample as the write task does: rounded first."""
    path = tmp_path / f"{digits}.nc"
    spec = spec_like(tmp_path, significant_digits=digits, **more)
    field = write_sample(path, spec, lambda values: rounded(values, digits) if digits else values)
    return path, field.values


def test_a_file_says_how_it_was_rounded_as_netcdf_and_cf_do(tmp_path: Path) -> None:
    path, _ = write_rounded(tmp_path, 3)
    with netCDF4.Dataset(path) as dataset:
        field, about = dataset["tas"], dataset[CONTAINER]
        assert field.quantization() == (10, "BitRound")
        assert field.getncattr("quantization") == CONTAINER
        assert field.quantization_nsb == 10
        assert field._QuantizeBitRoundNumberOfSignificantBits.dtype == np.int32
        assert about.algorithm == "bitround"
        assert about.implementation.startswith("climdask version ")
        assert about.shape == ()
        for name in set(dataset.variables) - {"tas"}:
            assert "quantization" not in dataset[name].ncattrs()


def test_without_rounding_a_file_says_nothing_of_it(tmp_path: Path) -> None:
    path, _ = write_rounded(tmp_path, None)
    with netCDF4.Dataset(path) as dataset:
        assert CONTAINER not in dataset.variables
        assert not [name for name in dataset["tas"].ncattrs() if "uanti" in name]
        assert dataset["tas"].quantization() is None


def test_the_fill_value_is_not_rounded(tmp_path: Path) -> None:
    path, values = write_rounded(tmp_path, 2)
    with netCDF4.Dataset(path) as dataset:
        dataset.set_auto_maskandscale(False)
        stored = dataset["tas"][:]
        assert (dataset["tas"]._FillValue, dataset["tas"].missing_value) == (FILL, FILL)
    assert (stored[np.isnan(values)] == FILL).all()
    assert struct.pack("<f", rounded(np.float32([FILL]), 2)[0]) != struct.pack("<f", FILL)


def test_fewer_digits_make_smaller_files(tmp_path: Path) -> None:
    sizes = [write_rounded(tmp_path, n)[0].stat().st_size for n in (None, 6, 4, 2)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] < 0.8 * sizes[0]  # some 40 kB of each are no values


@pytest.mark.slow
def test_the_cf_checker_finds_nothing_but_the_name_that_the_netcdf_library_chose(
    tmp_path: Path,
) -> None:
    path, _ = write_rounded(tmp_path, 4, variable="tasmax", count=True, bounds=True, height=True)
    (finding,) = cf_findings(path)
    assert finding.startswith("attribute tasmax:_QuantizeBitRoundNumberOfSignificantBits should")


def test_everyone_reads_a_rounded_file(tmp_path: Path) -> None:
    path, values = write_rounded(tmp_path, 3)
    with netCDF4.Dataset(path) as dataset:
        np.testing.assert_array_equal(dataset["tas"][:].filled(np.nan), values)
    with xr.open_dataset(path) as dataset:
        np.testing.assert_array_equal(dataset["tas"].values, values)
        assert dataset.attrs["target_year"] == WINDOW.last_year


def test_cdo_and_nco_read_a_rounded_file(tmp_path: Path) -> None:
    path, values = write_rounded(tmp_path, 3)
    assert "quantization_nsb = 10" in call("ncks", "-m", path)
    copy = tmp_path / "copy.nc"
    call("cdo", "-s", "-O", "-f", "nc4", "selname,tas", path, copy)
    with netCDF4.Dataset(copy) as dataset:
        np.testing.assert_array_equal(dataset["tas"][:].filled(np.nan), values)


# ---------------------------------------------------------------- workflows


@pytest.mark.slow
def test_a_workflow_rounds_its_normals_and_another_number_of_digits_makes_them_stale(
    tmp_path: Path,
) -> None:
    archive = write_archive(tmp_path / "in", first=2000, last=2007, last_historical_year=2005)
    out = {"whole": tmp_path / "whole", "out": tmp_path / "out"}

    def made(name: str, **output: Any) -> Any:
        flow = small(
            archive.root, out[name], last_historical_year=2005, output={**output, "count": True}
        )
        result = run(flow, serial=True)
        assert result.ok
        return result

    made("whole")
    assert made("out", significant_digits=3).plan.n_normals == 4
    exact, ours = contents(out["whole"]), contents(out["out"])
    assert exact.keys() == ours.keys()
    for path, whole in exact.items():
        values = np.frombuffer(whole["tas"][2], "<f4")
        expected = np.where(values == FILL, FILL, rounded(values, 3))
        got = np.frombuffer(ours[path]["tas"][2], "<f4")
        np.testing.assert_array_equal(got, expected)
        assert (values == FILL).any()
        assert (got != values).mean() > 0.5
        assert ours[path]["count"] == whole["count"]
    assert made("out", significant_digits=3).plan.n_normals == 0
    assert made("out", significant_digits=4).plan.n_normals == 4
    assert made("out").plan.n_normals == 4
    assert values_of(contents(out["out"])) == values_of(exact)


def values_of(found: dict[str, Any]) -> dict[str, bytes]:
    return {path: content["tas"][2] for path, content in found.items()}
