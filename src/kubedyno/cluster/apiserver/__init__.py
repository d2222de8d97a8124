"""HTTP requests in, API answers and watch streams out: routes, content types, Status, Tables.

Validates through `registry`, reads through `storage`; knows no controller and no node.
"""
