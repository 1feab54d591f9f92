"""``SampleData``, the module of Slicer that downloads heads to try things on.

Behaves as Modules/Scripted/SampleData/SampleData.py of Slicer/Slicer at commit 01c2def0e79b:

| there                      | what it does, and is done here                                    |
|----------------------------|--------------------------------------------------------------------|
| l. 516 registerBuiltIn...  | MRHead is MR-head.nrrd, a volume, at a GitHub address, with SHA256 |
| l. 646 downloadFromSource  | three attempts; a download that fails is logged, never raised      |
| l. 725                     | nothing loaded: the *paths* of the files, and none of those: ``[]``|
| l. 786 downloadSamples     | ``[]`` for an unknown name, else what downloadFromSource returned  |
| l. 858 downloadFile        | a cached file of the right checksum is not asked for again; a wrong|
|                            | one is fetched anew; a wrong download is removed, its path returned|
| l. 915 loadNode            | the node loses its storage node, as the file is in a cache         |

Only the address and the checksum are others: tests must not depend on the network, so the head is
what ``serve`` was given, and until then the server does not answer.
"""

from __future__ import annotations

import hashlib
import logging
import os
import types
import urllib.request
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.util import computeChecksum, extractAlgoAndDigest

ATTEMPTS = 3
UNREACHABLE = "http://127.0.0.1:9/MR-head.nrrd"  # the discard port: refused at once
SOURCES: dict[str, types.SimpleNamespace] = {}


def serve(file: Path | None) -> types.SimpleNamespace:
    """Let Slicer's server hold ``file`` as MRHead, or be off the net; the cache is emptied."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file else "0" * 64
    SOURCES["MRHead"] = types.SimpleNamespace(
        uri=file.as_uri() if file else UNREACHABLE,
        fileName="MR-head.nrrd",
        nodeName="MRHead",
        checksum=f"SHA256:{digest}",
    )
    (_cache() / "MR-head.nrrd").unlink(missing_ok=True)
    return SOURCES["MRHead"]


class SampleDataLogic:
    """Downloads and loads the samples that Slicer knows."""

    def downloadSamples(self, sampleName: str) -> list[Any]:
        source = SOURCES.get(sampleName)
        return self.downloadFromSource(source) if source else []

    def downloadFromSource(self, source: types.SimpleNamespace) -> list[Any]:
        paths = []
        for _attempt in range(ATTEMPTS):
            try:
                path = self.downloadFile(source.uri, _cache(), source.fileName, source.checksum)
            except ValueError as error:
                logging.error(error)
                continue
            paths.append(str(path))
            node = self.loadNode(path, source.nodeName)
            if node:
                return [node]
            path.unlink(missing_ok=True)
            logging.error("Load failed")
        return paths

    def downloadFile(self, uri: str, folder: Path, name: str, checksum: str) -> Path:
        path = folder / name
        algorithm, digest = extractAlgoAndDigest(checksum)
        if path.exists() and path.stat().st_size:
            if computeChecksum(algorithm, str(path)) == digest:
                return path
            path.unlink()
        try:
            urllib.request.urlretrieve(uri, path)  # noqa: S310 (as Slicer does)
        except OSError as error:
            raise ValueError(f"Failed to download {uri} to {path}") from error
        if computeChecksum(algorithm, str(path)) != digest:
            path.unlink()
        return path

    def loadNode(self, path: Path, name: str) -> Any:
        loaded = vtk.vtkCollection()
        properties = {"fileName": str(path), "name": name}
        done = slicer.app.coreIOManager().loadNodes("VolumeFile", properties, loaded)
        if not done or not loaded.GetNumberOfItems():
            return None
        node = loaded.GetItemAsObject(0)
        slicer.mrmlScene.RemoveNode(node.GetStorageNode())
        node.SetAndObserveStorageNodeID(None)
        return node


def _cache() -> Path:
    folder = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
    os.makedirs(folder, exist_ok=True)
    return folder
