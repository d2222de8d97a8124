"""The API's vocabulary: group/version/resource, selectors, quantities, versions, patches, Status, names, YAML rules.

Pure functions over plain data; does no I/O but reading its own data files.
"""
