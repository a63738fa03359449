"""A day on its way: export, transform, load, replay, and what they share."""
