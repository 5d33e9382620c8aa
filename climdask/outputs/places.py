"""Where the normals of an output folder are, in either format.

A normal is a NetCDF file, or the objects of a target year in a Zarr store: its own, and those of
the small arrays beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from climdask.outputfolder import OutputFolder
from climdask.plan import ChainSpec, NormalFile
from climdask.zarrlayout import Store
from climdask.zarrstore import StoreOnDisk, find_store


@dataclass(frozen=True)
class Places:
    """Where the normals of an output folder are; each store is looked at once."""

    folder: OutputFolder
    _stores: dict[str, tuple[Store, StoreOnDisk | None]] = field(default_factory=dict)

    def objects(
        self, spec: ChainSpec, leg: str, target_year: int, file: NormalFile
    ) -> tuple[Path, ...]:
        """Return the files that hold a normal, or would; none if its store has no such year."""
        if spec.format == "netcdf":
            return (self.folder.root / file.path,)
        store, there = self._of(spec, leg, file)
        return there.objects(store, target_year) if there else ()

    def fits(self, spec: ChainSpec, leg: str, file: NormalFile) -> bool:
        """Tell whether what is there could be a normal of this chain: stores must be alike."""
        if spec.format == "netcdf":
            return True
        store, there = self._of(spec, leg, file)
        return there is not None and there.identity == store.identity

    def are_there(self, spec: ChainSpec, leg: str, target_year: int, file: NormalFile) -> bool:
        """Tell whether a normal is there."""
        objects = self.objects(spec, leg, target_year, file)
        return bool(objects) and objects[-1].exists() and self.fits(spec, leg, file)

    def store(self, store: Store) -> StoreOnDisk | None:
        """Return what is in the place of a store."""
        path = str(store.path)
        if path not in self._stores:
            self._stores[path] = (store, find_store(self.folder.root / path))
        return self._stores[path][1]

    def _of(self, spec: ChainSpec, leg: str, file: NormalFile) -> tuple[Store, StoreOnDisk | None]:
        if file.path not in self._stores:
            self.store(Store(spec, spec.selection.region(file.region), leg))
        return self._stores[file.path]
