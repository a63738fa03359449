"""A Mixpanel and an Adobe Experience Platform on this machine, over real HTTP, for the demo and for tests.

Strict where the references say documented, switchable where unsure. It shares no code with the clients, so that it cannot
share a misreading with them. Start it with `EmulatorThread`, `EmulatorProcess` or `python -m mixpanel_aep_assets.emulator`.
"""

from mixpanel_aep_assets.emulator.client import Control, ControlError
from mixpanel_aep_assets.emulator.running import EmulatorProcess, EmulatorThread

__all__ = ["Control", "ControlError", "EmulatorProcess", "EmulatorThread"]
