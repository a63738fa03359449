"""One emulated world: its clock, memory, switches, faults and tallies, handed to every route."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mixpanel_aep_assets.emulator.clock import Clock
from mixpanel_aep_assets.emulator.counters import Counters
from mixpanel_aep_assets.emulator.faults import Faults
from mixpanel_aep_assets.emulator.mixpanel.accounts import Accounts
from mixpanel_aep_assets.emulator.mixpanel.events import Events
from mixpanel_aep_assets.emulator.platform.state import Platform
from mixpanel_aep_assets.emulator.settings import Settings
from mixpanel_aep_assets.emulator.store import Store
from mixpanel_aep_assets.emulator.windows import Windows

if TYPE_CHECKING:
    from mixpanel_aep_assets.emulator.platform.lifecycle import Lifecycle


class World:
    """Everything that the emulator is, apart from HTTP. Seeds the default credentials when the memory is empty."""

    def __init__(self, state: Path | None = None) -> None:
        self.clock = Clock()
        self.store = Store(state)
        self.settings = Settings()
        self.faults = Faults()
        self.counters = Counters()
        self.windows = Windows()
        self.accounts = Accounts(self.store)
        self.events = Events(self.store)
        self.platform = Platform(self.store, self.clock, self.settings)
        self._lifecycle: Lifecycle | None = None
        if self.platform.batches.values():
            self.lifecycle.resume()

    @property
    def lifecycle(self) -> Lifecycle:
        """What carries batches to their final state; imported late, because it pulls in the Parquet reader."""
        if self._lifecycle is None:
            from mixpanel_aep_assets.emulator.platform.lifecycle import Lifecycle

            self._lifecycle = Lifecycle(self.platform)
        return self._lifecycle

    def reset(self) -> None:
        """Back to the first moment: no events, no batches, default credentials, no faults, machine clock."""
        self._stop()
        self.store.clear()
        self.clock.reset()
        self.settings.reset()
        self.faults.clear()
        self.counters.reset()
        self.windows.reset()
        self.accounts = Accounts(self.store)
        self.events = Events(self.store)
        self.platform = Platform(self.store, self.clock, self.settings)

    def close(self) -> None:
        """Stop the ingestion worker and close the memory."""
        self._stop()
        self.store.close()

    def _stop(self) -> None:
        if self._lifecycle is not None:
            self._lifecycle.stop()
            self._lifecycle = None
