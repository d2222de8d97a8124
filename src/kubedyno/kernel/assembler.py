"""An assembler for eBPF: methods append instructions, labels name places, `code()` gives the kernel's bytes.

Pure. Names follow the kernel's instruction set document: `load` and `store` access memory, `mov` and `add` work on
registers, jumps go to labels. No instruction is longer than eight bytes but the two that load 64 bits.
"""

import struct
import sys
from dataclasses import dataclass, field
from typing import Self

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)

_SIZES = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
_ALU = {"add": 0x00, "sub": 0x10, "or": 0x40, "and": 0x50, "lsh": 0x60, "rsh": 0x70, "xor": 0xA0, "mov": 0xB0}
_JUMPS = {"==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "<": 0xA0, "<=": 0xB0}
_LD_IMM64, _ALU64, _ALU32, _JMP, _LDX_MEM, _ST_MEM, _STX_MEM, _STX_ATOMIC = (
    0x18, 0x07, 0x04, 0x05, 0x61, 0x62, 0x63, 0xC3,
)  # fmt: skip
_FROM_REGISTER = 0x08
_PSEUDO_MAP_FD = 1
LITTLE_ENDIAN = sys.byteorder == "little"


@dataclass(slots=True)
class _Instruction:
    opcode: int
    destination: int = 0
    source: int = 0
    offset: int = 0
    immediate: int = 0


@dataclass(slots=True)
class Assembler:
    """A program under construction. Every method but `code` and `fresh` returns the assembler itself."""

    _instructions: list[_Instruction] = field(default_factory=list)
    _labels: dict[str, int] = field(default_factory=dict)
    _jumps: list[tuple[int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._instructions)

    def _add(self, opcode: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> Self:
        self._instructions.append(_Instruction(opcode, destination, source, offset, immediate))
        return self

    def label(self, name: str) -> Self:
        """Name the next instruction.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._labels:
            raise ValueError(f"label {name!r} stands twice")
        self._labels[name] = len(self._instructions)
        return self

    def fresh(self, name: str) -> str:
        """Return a label name that no other place uses."""
        return f"{name}.{len(self._instructions)}"

    def alu(self, operator: str, register: int, value: int, *, bits: int = 64) -> Self:
        """Compute `register = register operator value`."""
        return self._add((_ALU64 if bits == 64 else _ALU32) | _ALU[operator], register, immediate=value)

    def alu_register(self, operator: str, register: int, other: int, *, bits: int = 64) -> Self:
        """Compute `register = register operator other`."""
        return self._add((_ALU64 if bits == 64 else _ALU32) | _ALU[operator] | _FROM_REGISTER, register, other)

    def mov(self, register: int, value: int) -> Self:
        """Set a register to a signed 32-bit number."""
        return self.alu("mov", register, value)

    def copy(self, register: int, other: int) -> Self:
        """Set a register to another's value."""
        return self.alu_register("mov", register, other)

    def add(self, register: int, value: int) -> Self:
        """Add a signed 32-bit number."""
        return self.alu("add", register, value)

    def load(self, size: int, register: int, base: int, offset: int) -> Self:
        """Read `size` bytes at base + offset."""
        return self._add(_LDX_MEM | _SIZES[size], register, base, offset)

    def store(self, size: int, base: int, offset: int, register: int) -> Self:
        """Write the lower `size` bytes of a register at base + offset."""
        return self._add(_STX_MEM | _SIZES[size], base, register, offset)

    def store_value(self, size: int, base: int, offset: int, value: int) -> Self:
        """Write a number of `size` bytes at base + offset."""
        return self._add(_ST_MEM | _SIZES[size], base, 0, offset, value)

    def atomic_add(self, base: int, offset: int, register: int) -> Self:
        """Add a register to eight bytes of memory."""
        return self._add(_STX_ATOMIC | _SIZES[8], base, register, offset, _ALU["add"])

    def jump(self, label: str) -> Self:
        """Go to a label."""
        self._jumps.append((len(self._instructions), label))
        return self._add(_JMP)

    def jump_if(self, register: int, condition: str, value: int, label: str) -> Self:
        """Go to a label when `register condition value` holds (unsigned)."""
        self._jumps.append((len(self._instructions), label))
        return self._add(_JMP | _JUMPS[condition], register, immediate=value)

    def jump_if_register(self, register: int, condition: str, other: int, label: str) -> Self:
        """Go to a label when `register condition other` holds (unsigned)."""
        self._jumps.append((len(self._instructions), label))
        return self._add(_JMP | _JUMPS[condition] | _FROM_REGISTER, register, other)

    def load_map(self, register: int, descriptor: int) -> Self:
        """Set a register to a map, given by its descriptor."""
        return self._add(_LD_IMM64, register, _PSEUDO_MAP_FD, 0, descriptor)._add(0)

    def call(self, helper: int) -> Self:
        """Call a helper: arguments in R1 to R5, which are lost; the result in R0."""
        return self._add(0x85, immediate=helper)

    def exit(self) -> Self:
        """Return R0."""
        return self._add(0x95)

    def code(self) -> bytes:
        """Return the program with its jumps resolved.

        Raises:
            ValueError: A jump goes to a label that stands nowhere, or too far.
        """
        for at, label in self._jumps:
            if label not in self._labels:
                raise ValueError(f"no label {label!r}")
            distance = self._labels[label] - at - 1
            if not -0x8000 <= distance < 0x8000:
                raise ValueError(f"label {label!r} is {distance} instructions away; a jump reaches 32767")
            self._instructions[at].offset = distance
        return b"".join(
            struct.pack(
                "=BBhI",
                i.opcode,
                i.source << 4 | i.destination if LITTLE_ENDIAN else i.destination << 4 | i.source,
                i.offset,
                i.immediate & 0xFFFFFFFF,
            )
            for i in self._instructions
        )
