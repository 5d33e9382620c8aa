"""Chunks read without the HDF5 library: the same bits as through it, from any HDF5 file."""

from __future__ import annotations

import errno
import os
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numcodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from climdask.climatology.blocks import Block
from climdask.climatology.calendars import DayAxis
from climdask.climatology.places import GLOBAL, Box, select
from climdask.errors import InconsistentFile, UnreadableFile
from climdask.inputs import chunkmanifest, chunkreader
from climdask.inputs.chunkcodecs import BLOSC, DEFLATE, FLETCHER32, SHUFFLE, ZSTD
from climdask.inputs.chunkmanifest import ChunkedVariable, locate
from climdask.inputs.netcdf import PassingError, read_header
from climdask.inputs.reading import read_through_netcdf4, read_years
from tests.inputs.test_netcdf import Specimen, specimens, write_specimen
from tests.samples import LAT, LON, dates_of, write_file, write_year, write_years

# ---------------------------------------------------------------- reading both ways


def both_ways(
    path: Path,
    years: Sequence[int] = (2001,),
    *,
    leap_day: str = "drop",
    boxes: Sequence[Box] = (GLOBAL,),
) -> tuple[list[Block], list[Block], list[str]]:
    """Read years directly and through netCDF4; return both, and why the first was slow."""
    header = read_header(path, "tas")
    wanted = header, DayAxis(header.calendar, leap_day), select(header.grid, boxes), years
    reasons: list[str] = []
    blocks = read_years(path, *wanted, slow=reasons.append)
    return blocks, read_through_netcdf4(path, *wanted), reasons


def assert_same_bits(ours: Sequence[Block], theirs: Sequence[Block]) -> None:
    assert [b.year for b in ours] == [b.year for b in theirs]
    for own, other in zip(ours, theirs, strict=True):
        assert own.values.dtype == np.float32
        np.testing.assert_array_equal(own.values.view(np.uint32), other.values.view(np.uint32))
        np.testing.assert_array_equal(own.days_any, other.days_any)


def assert_fast(path: Path, years: Sequence[int] = (2001,), **more: Any) -> list[Block]:
    """Read years directly, and find the same bits through netCDF4."""
    blocks, expected, reasons = both_ways(path, years, **more)
    assert reasons == []
    assert_same_bits(blocks, expected)
    return blocks


# ---------------------------------------------------------------- files made by hand


@dataclass(frozen=True)
class Storage:
    """How a variable is stored.

    Attributes:
        chunks: along the variable's own axes; may be longer than these if ``unlimited``.
        filters: HDF5 numbers, in order.
        unlimited: whether all axes are.
        fill: what HDF5 gives for cells that were never written; None for its own 0.
        missing: share of the chunks that are never written.
        skipping: share of the chunks that skip some filters.
    """

    chunks: tuple[int, ...]
    filters: tuple[int, ...] = ()
    unlimited: bool = False
    fill: Any = None
    missing: float = 0.0
    skipping: float = 0.0


def encoded(data: bytes, code: int, itemsize: int) -> bytes:
    """Apply a filter, with nothing that the reader uses."""
    if code == SHUFFLE:
        whole = len(data) // itemsize * itemsize
        return b"".join(data[i:whole:itemsize] for i in range(itemsize)) + data[whole:]
    codec: Any = {
        FLETCHER32: numcodecs.Fletcher32(),
        BLOSC: numcodecs.Blosc("lz4"),
        ZSTD: numcodecs.Zstd(3),
    }.get(code)
    return zlib.compress(data, 4) if code == DEFLATE else bytes(codec.encode(data))


def store_anew(path: Path, storage: Storage, seed: int = 0) -> None:
    """Store the field of a file in another way, chunk by chunk, with rubbish beyond its edges."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "r+") as file:
        old = file["tas"]
        values, scales = old[...], [old.dims[i][0] for i in range(old.ndim)]
        attributes = {k: v for k, v in old.attrs.items() if k not in OWN_TO_NETCDF}
        del file["tas"]
        new = create(file, "tas", values.shape, values.dtype, storage)
        new.attrs.update(attributes)
        for axis, scale in zip(new.dims, scales, strict=True):
            axis.attach_scale(scale)
        for number in np.ndindex(
            *(-(-n // c) for n, c in zip(values.shape, new.chunks, strict=True))
        ):
            if rng.random() < storage.missing:
                continue
            start = tuple(i * c for i, c in zip(number, new.chunks, strict=True))
            part = values[tuple(slice(s, s + c) for s, c in zip(start, new.chunks, strict=True))]
            rubbish = rng.bytes(int(np.prod(new.chunks)) * values.itemsize)
            chunk = np.frombuffer(rubbish, values.dtype).reshape(new.chunks).copy()
            chunk[tuple(map(slice, part.shape))] = part
            skipped = 0
            if rng.random() < storage.skipping:
                skipped = int(rng.integers(1 << len(storage.filters)))
            data = chunk.tobytes()
            for n, code in enumerate(storage.filters):
                if not skipped >> n & 1:
                    data = encoded(data, code, values.itemsize)
            new.id.write_direct_chunk(start, data, skipped)


OWN_TO_NETCDF = {"DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"}


def create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], storage: Storage
) -> h5py.Dataset:
    """Create a variable with filters that h5py does not have itself."""
    while h5py.h5pl.size():  # those of netCDF4 belong to another HDF5 library
        h5py.h5pl.remove(0)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(storage.chunks)
    for code in storage.filters:
        values = {
            SHUFFLE: (dtype.itemsize,),
            DEFLATE: (4,),
            ZSTD: (3,),
            BLOSC: (2, 2, 4, 0, 5, 1, 1),
        }
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, values.get(code, ()))
    if storage.fill is not None:
        plist.set_fill_value(np.array(storage.fill, dtype))
    most = (h5py.h5s.UNLIMITED,) * len(shape) if storage.unlimited else shape
    space = h5py.h5s.create_simple(shape, most)
    kind = h5py.h5t.py_create(dtype)
    return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, plist))


# ---------------------------------------------------------------- the zoo

FILTERS = [
    (),
    (DEFLATE,),
    (SHUFFLE,),
    (SHUFFLE, DEFLATE),
    (FLETCHER32,),
    (FLETCHER32, SHUFFLE, DEFLATE),  # as netCDF orders them
    (SHUFFLE, DEFLATE, FLETCHER32),  # as h5py does
    (DEFLATE, SHUFFLE),
    (DEFLATE, DEFLATE),
    (SHUFFLE, SHUFFLE, DEFLATE),
    (ZSTD,),
    (SHUFFLE, ZSTD),
    (FLETCHER32, ZSTD),
    (BLOSC,),
    (FLETCHER32, BLOSC),
    (SHUFFLE, BLOSC, DEFLATE),
]


@st.composite
def storages(draw: st.DrawFn, specimen: Specimen, n_steps: int) -> Storage:
    sizes = {"time": n_steps, "lat": len(specimen.style.lat), "lon": len(specimen.style.lon)}
    unlimited = draw(st.booleans())
    beyond = 3 if unlimited else 0
    lengths = {dim: draw(st.integers(1, n + beyond)) for dim, n in sizes.items() if dim != "time"}
    columns = np.prod([-(-sizes[dim] // length) for dim, length in lengths.items()])
    least = int(n_steps * columns / 1500) + 1  # so that there are not very many chunks
    steps = st.integers(least, n_steps + beyond) | st.sampled_from([least, min(n_steps, 366)])
    lengths |= {"time": draw(steps), "level": draw(st.integers(1, 1 + beyond))}
    chunks = tuple(lengths[dim] for dim in specimen.style.dims)
    stored_fill = specimen.style.fill if isinstance(specimen.style.fill, int | float) else None
    return Storage(
        chunks,
        draw(st.sampled_from(FILTERS)),
        unlimited,
        draw(st.sampled_from([None, stored_fill, 77])),
        draw(st.sampled_from([0.0, 0.0, 0.3, 1.0])),
        draw(st.sampled_from([0.0, 0.0, 0.5])),
    )


@given(st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.slow
def test_however_a_field_is_stored_its_bits_are_those_that_netcdf4_reads(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    specimen = data.draw(specimens())
    style = replace(specimen.style, format="NETCDF4", chunks=None, deflate=False)
    specimen = replace(specimen, style=style)
    path = tmp_path_factory.mktemp("zoo") / "specimen.nc"
    write_specimen(path, specimen)
    there = range(specimen.first, specimen.last + 1)
    n_days = len(dates_of(specimen.first, specimen.last, specimen.calendar))
    n_steps = n_days - sum(i < n_days for i in specimen.without)
    store_anew(path, data.draw(storages(specimen, n_steps)), seed=data.draw(st.integers(0, 99)))
    years = sorted(data.draw(st.sets(st.sampled_from(there), min_size=1)))
    assert_fast(path, years, leap_day=specimen.leap_day, boxes=specimen.boxes)
    path.unlink()


COMPRESSIONS: list[dict[str, Any]] = [
    *({"compression": "zlib", "complevel": level} for level in range(1, 10)),
    {"compression": "zlib", "shuffle": False},
    {"compression": "zlib", "fletcher32": True},
    {"fletcher32": True},
    {"compression": "zstd"},
    {"compression": "zstd", "fletcher32": True},
    {"compression": "blosc_lz", "blosc_shuffle": 0},
    {"compression": "blosc_lz4", "blosc_shuffle": 1},
    {"compression": "blosc_lz4hc", "blosc_shuffle": 2},
    {"compression": "blosc_zlib"},
    {"compression": "blosc_zstd", "fletcher32": True},
    {},
]


def rewritten(path: Path, **storage: Any) -> None:
    """Write a year, its field as netCDF4 stores it if asked so; multi-year chunks partly full."""
    write_years(path, "tas", 2000, 2002, missing=0.01)
    held, attributes = field_and_attributes(path)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.renameVariable("tas", "old")
        new = dataset.createVariable(
            "tas", "f4", ("time", "lat", "lon"), fill_value=1e20, chunksizes=(400, 3, 4), **storage
        )
        new.set_auto_maskandscale(False)
        new.setncatts(attributes)
        new[:] = held


def field_and_attributes(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    with netCDF4.Dataset(path) as dataset:
        var = dataset["tas"]
        var.set_auto_maskandscale(False)
        return np.round(var[:], 1), {k: var.getncattr(k) for k in ("units", "long_name")}


@pytest.mark.slow
@pytest.mark.parametrize("storage", COMPRESSIONS, ids=str)
def test_what_netcdf4_compresses_is_read_without_it(
    tmp_path: Path, storage: dict[str, Any]
) -> None:
    kind = str(storage.get("compression", "")).partition("_")[0]
    with netCDF4.Dataset("probe", "w", memory=1) as probe:
        if kind in ("zstd", "blosc") and not getattr(probe, f"has_{kind}_filter")():
            pytest.skip(f"this netCDF library has no {kind}")
    path = tmp_path / "tas.nc"
    rewritten(path, **storage)
    west = Box("WEST", 280.0, 80.0, -60.0, 40.0)  # wraps
    blocks = assert_fast(path, [2000, 2001, 2002], boxes=(west, Box("CELL", 73, 74, 31, 31)))
    assert np.isfinite(blocks[1].values).mean() > 0.9


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("maxshape", [None, (None, 4, 5), (None, None, None), (500, 4, 5)])
@pytest.mark.parametrize("chunks", [(1, 4, 5), (365, 4, 5), (50, 3, 2)])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.slow
def test_every_index_of_chunks_that_hdf5_has_is_understood(
    tmp_path: Path, version: str, maxshape: Any, chunks: tuple[int, ...], early: bool
) -> None:
    """B-trees of both versions, arrays, a single chunk, chunks one after another."""
    path = tmp_path / "tas.nc"
    write_by_h5py(path, version=version, maxshape=maxshape, chunks=chunks, early=early)
    (block,) = assert_fast(path)
    assert np.isfinite(block.values).all()


def write_by_h5py(path: Path, *, version: str, early: bool = False, **storage: Any) -> None:
    """Write a year by h5py alone."""
    values = np.random.default_rng(5).normal(280, 9, (365, 4, 5)).astype("f4")
    with h5py.File(path, "w", libver=version) as file:
        axes = (
            ("time", np.arange(365.0), "days since 2001-01-01"),
            ("lat", LAT, "degrees_north"),
            ("lon", LON, "degrees_east"),
        )
        for name, places, units in axes:
            most = (None if name == "time" else len(places),)
            file.create_dataset(name, data=np.array(places), maxshape=most)
            file[name].make_scale(name)
            file[name].attrs["units"] = units
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if early:
            plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        field = file.create_dataset("tas", (365, 4, 5), "f4", dcpl=plist, **storage)
        field.attrs["units"] = "K"
        field[...] = values
        for axis, (name, *_) in zip(field.dims, axes, strict=True):
            axis.attach_scale(file[name])


def test_a_file_by_h5netcdf_is_read_without_netcdf4(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    write_year(tmp_path / "plain.nc")
    with xr.open_dataset(tmp_path / "plain.nc") as dataset:
        how = {"chunksizes": (100, 4, 5), "compression": "gzip", "shuffle": True}
        dataset.to_netcdf(
            tmp_path / "tas.nc", engine="h5netcdf", encoding={"tas": {**how, "fletcher32": True}}
        )
    assert_fast(tmp_path / "tas.nc")


@pytest.mark.parametrize("dims", [("time", "lat", "lon"), ("one", "time", "lon", "lat")])
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8"])
def test_what_lies_in_one_piece_is_read_step_by_step(
    tmp_path: Path, dims: tuple[str, ...], dtype: str
) -> None:
    path = tmp_path / "tas.nc"
    write_years(path, "tas", 2000, 2002, dims=dims, dtype=dtype)
    assert_fast(path, [2001, 2002], boxes=(Box("A", 280, 80, -60, 40), Box("B", 73, 74, 31, 31)))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u2"])
@pytest.mark.parametrize("filters", [(SHUFFLE, DEFLATE), (FLETCHER32, SHUFFLE, DEFLATE), ()])
def test_integers_of_every_width_are_read_alike(
    tmp_path: Path, dtype: str, filters: tuple[int, ...]
) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, dtype=dtype, packing=(0.5, 250.0), fill=100)
    store_anew(path, Storage((50, 3, 2), filters, fill=100, missing=0.2))
    (block,) = assert_fast(path)
    assert 0.5 < np.isfinite(block.values).mean() < 0.95


# ---------------------------------------------------------------- what was never written


@pytest.mark.parametrize("chunks", [(30, 4, 5), None])
def test_a_field_that_was_never_written_is_missing_throughout(
    tmp_path: Path, chunks: tuple[int, int, int] | None
) -> None:
    path = tmp_path / "tas.nc"
    unwritten(path, chunks=chunks)
    (block,) = assert_fast(path)
    assert np.isnan(block.values).all()


def unwritten(path: Path, *, fill_off: bool = False, chunks: Any = (30, 4, 5)) -> None:
    """Write a file without a value in it."""
    write_year(path)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.renameVariable("tas", "old")
        if fill_off:
            dataset.set_fill_off()
        storage = {"chunksizes": chunks} if chunks else {"contiguous": True}
        dataset.createVariable("tas", "f4", ("time", "lat", "lon"), fill_value=-5.0, **storage)
        dataset["tas"].units = "K"


def test_values_that_nobody_wrote_and_nothing_stands_for_are_no_values(tmp_path: Path) -> None:
    """The netCDF library returns what happens to be in memory."""
    path = tmp_path / "tas.nc"
    unwritten(path, fill_off=True)
    with pytest.raises(UnreadableFile, match=r"tas\.nc: .*never written, and no value is set"):
        both_ways(path)


def test_of_a_file_that_is_partly_unwritten_the_rest_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    unwritten(path, fill_off=True, chunks=(300, 4, 1))
    with netCDF4.Dataset(path, "a") as dataset:
        dataset["tas"][:, :, 2] = np.linspace(200, 330, 365 * 4, dtype="f4").reshape(365, 4)
    (block,) = assert_fast(path, boxes=(Box("WRITTEN", 146, 146, -60, 80),))
    assert np.isfinite(block.values).all()


def test_chunks_that_are_longer_than_an_unlimited_axis_end_with_it(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    write_year(path)
    store_anew(path, Storage((1000, 6, 8), (SHUFFLE, DEFLATE), unlimited=True))
    assert_fast(path)


def test_values_that_end_before_their_axis_are_filled_up_by_netcdf4(tmp_path: Path) -> None:
    """Two variables share an unlimited axis; HDF5 knows only how long each is by itself."""
    path = tmp_path / "tas.nc"
    write_by_h5py(path, version="earliest", maxshape=(None, 4, 5), chunks=(30, 4, 5))
    with h5py.File(path, "r+") as file:
        file["tas"].resize(301, axis=0)
    blocks, expected, reasons = both_ways(path)
    assert reasons == ["fewer values than its axes have places"]
    assert_same_bits(blocks, expected)
    assert np.isnan(blocks[0].values[301:]).all()


# ---------------------------------------------------------------- what netCDF4 has to read


def compressed_by_netcdf4(path: Path, compression: str) -> None:
    with netCDF4.Dataset("probe", "w", memory=1) as probe:
        if not getattr(probe, f"has_{compression}_filter")():
            pytest.skip(f"this netCDF library has no {compression}")
    rewritten(path, compression=compression)


def scaled(path: Path) -> None:
    write_by_h5py(path, version="earliest", chunks=(30, 4, 5), scaleoffset=3)


def external(path: Path) -> None:
    raw = [(str(path.with_suffix(".raw")), 0, h5py.h5f.UNLIMITED)]
    write_by_h5py(path, version="earliest", external=raw)


def compact(path: Path) -> None:
    write_year(path)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.renameVariable("tas", "old")
        own = dataset.createVariable("tas", "f4", ("time", "lat", "lon"), fill_value=1e20)
        own.setncatts({"units": "K"})
    with h5py.File(path, "r+") as file:
        scales = [file["tas"].dims[i][0] for i in range(3)]
        del file["tas"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        file.create_dataset("tas", data=file["old"][...], dcpl=plist).attrs["units"] = "K"
        file["tas"].attrs["missing_value"] = np.float32(1e20)
        for axis, scale in zip(file["tas"].dims, scales, strict=True):
            axis.attach_scale(scale)


def virtual(path: Path) -> None:
    write_year(path)
    with h5py.File(path, "r+") as file:
        old = file["tas"]
        scales = [old.dims[i][0] for i in range(3)]
        file.move("tas", "old")
        layout = h5py.VirtualLayout((365, 4, 5), "f4")
        layout[...] = h5py.VirtualSource(".", "old", (365, 4, 5))
        new = file.create_virtual_dataset("tas", layout)
        new.attrs["units"] = "K"
        new.attrs["missing_value"] = np.float32(1e20)
        for axis, scale in zip(new.dims, scales, strict=True):
            axis.attach_scale(scale)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: compressed_by_netcdf4(path, "szip"), "filter szip"),
        (lambda path: compressed_by_netcdf4(path, "bzip2"), "filter bzip2"),
        (scaled, "filter scaleoffset"),
        (external, "neither in chunks nor in one piece"),
        (compact, "neither in chunks nor in one piece"),
        (virtual, "neither in chunks nor in one piece"),
        (
            lambda path: write_year(path, dims=("lat", "time", "lon")),
            "in one piece, with time not first",
        ),
        (lambda path: write_year(path, format="NETCDF3_CLASSIC"), "NETCDF3 format"),
        (lambda path: write_year(path, format="NETCDF3_64BIT_DATA"), "NETCDF3 format"),
    ],
)
def test_what_cannot_be_read_directly_is_read_through_netcdf4_and_says_why(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "tas.nc"
    make(path)
    blocks, expected, reasons = both_ways(path)
    assert reasons == [reason]
    assert_same_bits(blocks, expected)
    assert np.isfinite(blocks[0].values).mean() > 0.5


def test_many_small_chunks_are_left_to_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, chunks=(1, 4, 5))
    monkeypatch.setattr(chunkmanifest, "MANY", 364)
    monkeypatch.setattr(chunkmanifest, "SMALL", 81)
    blocks, expected, reasons = both_ways(path)
    assert reasons == ["more than 364 chunks of less than 81 bytes"]
    assert_same_bits(blocks, expected)
    monkeypatch.setattr(chunkmanifest, "SMALL", 80)
    assert_fast(path)
    monkeypatch.setattr(chunkmanifest, "SMALL", 81)
    monkeypatch.setattr(chunkmanifest, "MANY", 365)
    assert_fast(path)


def test_places_in_a_file_with_a_user_block_would_be_wrong(tmp_path: Path) -> None:
    path = tmp_path / "tas.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("tas", (3, 2, 2), "f4", chunks=(1, 2, 2))[...] = 1.0
    assert locate(path, "tas", (0, 1, 2), (3, 2, 2)) == "a user block"


def test_what_h5py_cannot_open_is_left_to_netcdf4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, chunks=(30, 4, 5))

    def refuse(*_: object) -> None:
        raise OSError("file close degree doesn't match")

    monkeypatch.setattr(h5py, "File", refuse)
    blocks, expected, reasons = both_ways(path)
    assert reasons == ["h5py: file close degree doesn't match"]
    assert_same_bits(blocks, expected)


# ---------------------------------------------------------------- damage


def located(path: Path) -> ChunkedVariable:
    found = locate(path, "tas", (0, 1, 2), (365, 4, 5))
    assert isinstance(found, ChunkedVariable)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "filters",
    [
        (DEFLATE,), (SHUFFLE, DEFLATE), (FLETCHER32,), (FLETCHER32, SHUFFLE, DEFLATE),
        (SHUFFLE, DEFLATE, FLETCHER32), (FLETCHER32, ZSTD), (FLETCHER32, BLOSC),
    ],
)  # fmt: skip
def test_flipped_bits_are_told_by_checksums(tmp_path: Path, filters: tuple[int, ...]) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, missing=0.0)
    store_anew(path, Storage((365, 4, 5), filters))
    (expected,) = assert_fast(path)
    (chunk,) = located(path).chunks.values()
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    places = [*range(24), *rng.integers(0, chunk.size, 30), *range(chunk.size - 8, chunk.size)]
    told = 0
    for place in places:
        content = bytearray(whole)
        content[chunk.start + int(place)] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        found = values_or_error(path)
        if isinstance(found, str):
            assert f"{path}: damaged or truncated (a chunk" in found
            told += 1
        else:  # a bit that means nothing, such as the level in zlib's header
            assert_same_bits([found], [expected])
    assert told > len(places) / 2


@pytest.mark.slow
@pytest.mark.parametrize("filters", [(ZSTD,), (BLOSC,), (SHUFFLE, ZSTD)])
def test_damage_that_no_checksum_tells_ends_in_values_or_an_error(
    tmp_path: Path, filters: tuple[int, ...]
) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, missing=0.0)
    store_anew(path, Storage((365, 4, 5), filters))
    (chunk,) = located(path).chunks.values()
    whole, rng = path.read_bytes(), np.random.default_rng(4)
    for place in (*range(24), *rng.integers(0, chunk.size, 30)):
        content = bytearray(whole)
        content[chunk.start + int(place)] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        found = values_or_error(path)
        assert str(path) in found if isinstance(found, str) else found.values.shape == (365, 20)


def values_or_error(path: Path) -> Block | str:
    """Read the year of a file without netCDF4, or return what is said about it."""
    header = read_header(path, "tas")
    axis, selection = DayAxis(header.calendar, "drop"), select(header.grid, (GLOBAL,))
    try:
        (block,) = read_years(path, header, axis, selection, [2001])
    except (PassingError, InconsistentFile) as error:  # damaged, or values that cannot be
        return str(error)
    return block


@pytest.mark.parametrize(
    ("filters", "make"),
    [
        ((DEFLATE,), lambda data: zlib.compress(data[:-4])),
        ((DEFLATE,), lambda data: zlib.compress(data + b"more")),
        ((DEFLATE,), lambda data: zlib.compress(data * 3)),
        ((DEFLATE,), lambda data: zlib.compress(data)[:100]),
        ((DEFLATE,), lambda data: b"x"),
        ((SHUFFLE, DEFLATE), lambda data: zlib.compress(data[:-1])),
        ((FLETCHER32,), lambda data: b"ab"),
        ((FLETCHER32,), lambda data: encoded(data[:-4], FLETCHER32, 4)),
        ((BLOSC,), lambda data: encoded(data[:-4], BLOSC, 4)),
        ((BLOSC,), lambda data: encoded(data, BLOSC, 4)[:-40]),
        ((BLOSC,), lambda data: b"short"),
        ((ZSTD,), lambda data: encoded(data[:-4], ZSTD, 4)),
        ((ZSTD,), lambda data: encoded(data, ZSTD, 4)[:-40]),
        # A frame that claims to hold 2**40 bytes.
        ((ZSTD,), lambda data: b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\1\0\0" + b"x" * 40),
    ],
)
def test_a_chunk_of_the_wrong_size_is_told(
    tmp_path: Path, filters: tuple[int, ...], make: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "tas.nc"
    write_year(path)
    store_anew(path, Storage((100, 4, 5), filters))
    with h5py.File(path, "r+") as file:
        data = np.random.default_rng(1).normal(280, 9, (100, 4, 5)).astype("f4").tobytes()
        file["tas"].id.write_direct_chunk((200, 0, 0), make(data))
    with pytest.raises(PassingError, match=r"tas\.nc: damaged or truncated \(a chunk "):
        both_ways(path)


def after_locating(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen to a file between finding its chunks and reading them."""

    def find(*args: Any) -> Any:
        found = locate(*args)
        happens()
        return found

    monkeypatch.setattr(chunkreader, "locate", find)


def test_a_file_that_ends_within_a_chunk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, chunks=(50, 4, 5))
    last = max(c.start for c in located(path).chunks.values())
    after_locating(monkeypatch, lambda: os.truncate(path, last + 10))
    with pytest.raises(PassingError, match=rf"tas\.nc: .*the file ends at byte {last + 10:,}"):
        both_ways(path)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, PassingError), (errno.ESTALE, PassingError)]
)
def test_a_read_that_fails_for_a_passing_reason_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, chunks=(50, 4, 5))

    def fail(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(chunkmanifest, "_bytes_at", fail)
    with pytest.raises(kind, match=rf"tas\.nc: cannot be read \({os.strerror(number)}\)"):
        both_ways(path)


def test_a_file_that_is_gone_when_its_chunks_are_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tas.nc"
    write_year(path, chunks=(50, 4, 5))
    after_locating(monkeypatch, path.unlink)
    with pytest.raises(UnreadableFile, match=r"tas\.nc: cannot be read \(No such file"):
        both_ways(path)


# ---------------------------------------------------------------- no more than is needed


@pytest.mark.slow
@pytest.mark.parametrize("dims", [("time", "lat", "lon"), ("lon", "time", "lat")])
@pytest.mark.parametrize("chunks", [(1, 4, 5), (100, 2, 2), (500, 1, 3), (2000, 4, 5)])
@pytest.mark.parametrize("years", [[2000, 2001], [2001], [2000, 2003]])
def test_each_chunk_that_is_touched_is_read_once_and_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dims: tuple[str, ...],
    chunks: tuple[int, int, int],
    years: list[int],
) -> None:
    path = tmp_path / "tas.nc"
    write_years(path, "tas", 2000, 2003, dims=dims, chunks=chunks, deflate=True)
    boxes = (Box("WRAP", 280, 10, -20, 40), Box("CELL", 146, 146, 70, 71))
    read: list[int] = []
    real = chunkmanifest._bytes_at
    monkeypatch.setattr(
        chunkmanifest, "_bytes_at", lambda file, c: (read.append(c.start), real(file, c))[1]
    )
    assert_fast(path, years, boxes=boxes)
    with h5py.File(path) as file:
        field = file["tas"]
        sizes = dict(zip(dims, field.chunks, strict=True))
        every = [field.id.get_chunk_info(i) for i in range(field.id.get_num_chunks())]
    steps = [i for i, date in enumerate(dates_of(2000, 2003, "standard")) if date[0] in years]
    wanted = {
        (t // sizes["time"], y // sizes["lat"], x // sizes["lon"])
        for t in steps
        for y, x in [(1, 4), (1, 0), (2, 4), (2, 0), (3, 2)]
    }
    expected = [
        chunk.byte_offset
        for chunk in every
        if tuple(
            dict(zip(dims, chunk.chunk_offset, strict=True))[d] // sizes[d]
            for d in ("time", "lat", "lon")
        )
        in wanted
    ]
    assert sorted(read) == sorted(expected)


def test_of_a_long_chunk_only_the_steps_in_demand_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    held = write_years(path, "tas", 2000, 2003, chunks=(600, 4, 5), deflate=True)
    variable = locate(path, "tas", (0, 1, 2), held.shape)
    assert isinstance(variable, ChunkedVariable)
    cells = np.arange(3, 17)
    parts = list(chunkmanifest.read_steps(path, variable, cells, 5, [range(366, 731)]))
    assert [part for part, *_ in parts] == [range(366, 600), range(600, 731)]
    assert [values.shape for *_, values in parts] == [(234, 14), (131, 14)]


def test_a_grid_of_very_many_chunks_is_sorted_out_in_one_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Going through all cells for each chunk would take hours on a global grid."""
    calls: list[int] = []
    real = np.flatnonzero
    monkeypatch.setattr(np, "flatnonzero", lambda a: (calls.append(1), real(a))[1])
    groups = list(chunkmanifest._groups(np.arange(60 * 50), 50, (7, 1, 1)))
    assert [(g.y, g.x, g.columns) for g in groups] == [
        (i // 50, i % 50, slice(i, i + 1)) for i in range(3000)
    ]
    assert len(calls) < 10


@pytest.mark.parametrize("chunks", [(1, 100, 200), (10, 60, 70), (20, 100, 200)])
@pytest.mark.slow
def test_a_read_needs_memory_for_its_blocks_and_a_few_chunks(
    tmp_path: Path, chunks: tuple[int, int, int]
) -> None:
    path = tmp_path / "tas.nc"
    lat, lon = np.linspace(-80, 80, 100), np.arange(200) * 1.8
    values = np.random.default_rng(2).integers(250, 300, (365, 100, 200)).astype("f4")
    write_year(
        path, calendar="noleap", values=values, lat=lat, lon=lon, chunks=chunks, deflate=True
    )
    header = read_header(path, "tas")
    selection = select(header.grid, (Box("A", 10, 200, -60, 20), Box("B", 300, 20, 0, 70)))
    tracemalloc.start()
    try:
        (block,) = read_years(path, header, DayAxis("noleap", "drop"), selection, [2001])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    chunk_bytes = 4 * int(np.prod(chunks))
    assert block.values.nbytes > 10e6
    assert peak < 1.1 * block.values.nbytes + 8 * chunk_bytes + 2e6


@pytest.mark.slow
def test_threads_read_different_files_at_once(tmp_path: Path) -> None:
    filters = [(SHUFFLE, DEFLATE), (BLOSC,), (ZSTD, FLETCHER32), (FLETCHER32, SHUFFLE, DEFLATE)]
    paths, wanted = [tmp_path / f"{i}.nc" for i in range(12)], []
    for i, path in enumerate(paths):
        write_year(path, seed=i, missing=0.01 * i)
        store_anew(path, Storage((40, 3, 3), filters[i % 4], missing=0.1, fill=1e20), seed=i)
        header = read_header(path, "tas")
        how = header, DayAxis(header.calendar, "drop"), select(header.grid, (GLOBAL,)), [2001]
        wanted.append((how, read_through_netcdf4(path, *how)))
    wrong: list[object] = []

    def work(first: int) -> None:
        for i in range(len(paths)):
            number = (first + i) % len(paths)
            how, expected = wanted[number]
            try:
                assert_same_bits(read_years(paths[number], *how, slow=wrong.append), expected)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(2 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_incomplete_years_leave_the_other_days_missing(tmp_path: Path) -> None:
    path = tmp_path / "tas.nc"
    dates = dates_of(1999, 2001, "standard")[200:900]
    values = np.random.default_rng(8).normal(280, 9, (700, 4, 5)).astype("f4")
    write_file(path, "tas", dates, "standard", values, chunks=(64, 4, 5), deflate=True)
    first, second, last = assert_fast(path, [1999, 2000, 2001], leap_day="keep")
    assert [int(b.days_any.sum()) for b in (first, second, last)] == [165, 366, 169]
