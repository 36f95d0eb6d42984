"""A driver whose sessions another engine lists."""
