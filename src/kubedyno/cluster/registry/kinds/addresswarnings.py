"""Warnings for addresses and networks that are understood, and written in a way that not everybody understands."""

import ipaddress


def ip_warnings(path: str, text: str) -> list[str]:
    """Return the warnings for an address."""
    address = _sloppy(text)
    if address is None:
        return []
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if mapped is not None or (address.version == 4 and str(address) != text):
        return [f'{path}: non-standard IP address "{text}" is invalid: use "{mapped or address}"']
    if address.version == 6 and str(address) != text:
        return [f'{path}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{address}")']
    return []


def cidr_warnings(path: str, text: str) -> list[str]:
    """Return the warnings for a network."""
    given = text.partition("/")[0]
    address, network = _sloppy(given), network_of(text)
    if address is None or network is None:
        return []
    warnings = []
    if network.network_address != address:
        single = f"{address}/{address.max_prefixlen}"
        text_of = f'CIDR value "{text}" is ambiguous in this context (should be "{network}" or "{single}"?)'
        warnings.append(f"{path}: {text_of}")
    if address.version == 4 and str(address) != given:
        warnings.append(f'{path}: non-standard CIDR value "{text}" is invalid: use "{network}"')
    if not warnings and address.version == 6 and str(network) != text:
        warnings.append(f'{path}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{network}")')
    return warnings


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return a network, which may have zeros before its numbers, None for anything else."""
    given, _, bits = text.partition("/")
    address = _sloppy(given)
    if address is None or not (bits.isascii() and bits.isdecimal()) or int(bits) > address.max_prefixlen:
        return None
    return ipaddress.ip_network(f"{address}/{bits}", strict=False)


def _sloppy(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address that may have zeros before its numbers, None for anything else."""
    if ":" not in text and text.replace(".", "").isdecimal():
        text = ".".join(part.lstrip("0") or "0" for part in text.split(".") if part)
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
