"""Processes and threads, whatever runs in them."""
