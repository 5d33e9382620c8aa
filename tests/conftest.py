"""Fixtures that every test shares."""

from __future__ import annotations

import time
