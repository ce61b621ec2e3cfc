"""Names and versions of the JSON files passed between stages; each file has one writer.

Schemas of types defined in `data` and `models` (data set, architecture, distribution, certificate)
are defined there.
"""

from __future__ import annotations

LATENCY = "netwright/latency/1"
START = "netwright/start/1"
CHOICE = "netwright/choice/1"
FLEET = "netwright/fleet/1"
TRAIN = "netwright/train/1"
QUANTIZE = "netwright/quantize/1"
EXPORT = "netwright/export/1"
BUNDLE_SUMMARY = "netwright/bundle-summary/1"
