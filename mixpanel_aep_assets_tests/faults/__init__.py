"""The fault suite: the whole way of a day under every fault, judged by the emulator's books (docs/faults.md)."""
