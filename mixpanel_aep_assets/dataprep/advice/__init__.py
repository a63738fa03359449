"""What helps to write a mapping set: suggestions, coverage, the standard mapping fitted to another schema."""
