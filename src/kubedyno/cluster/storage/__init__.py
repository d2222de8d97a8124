"""Resources as StateDB tables: keys, resourceVersion, encoding, history.

Knows objects as bytes and a small record; knows no defaulting, no HTTP, no controller.
"""
