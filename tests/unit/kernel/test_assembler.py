import struct

import pytest

from kubedyno.kernel.assembler import R0, R1, R2, R6, R10, Assembler

LITTLE = struct.pack("=H", 1)[0] == 1
pytestmark = pytest.mark.skipif(not LITTLE, reason="the golden bytes are those of a little-endian machine")


# Left: what is written; right: the bytes, as clang and the kernel's instruction set document have them.
GOLDEN = [
    (Assembler().mov(R0, 0).exit(), "b7000000 00000000 95000000 00000000"),
    (Assembler().mov(R0, -1), "b7000000 ffffffff"),
    (Assembler().copy(R6, R1), "bf160000 00000000"),
    (Assembler().add(R2, -8), "07020000 f8ffffff"),
    (Assembler().alu("and", R1, 0xFF, bits=32), "54010000 ff000000"),
    (Assembler().alu_register("xor", R1, R2), "af210000 00000000"),
    (Assembler().load(4, R1, R6, 76), "61614c00 00000000"),
    (Assembler().load(1, R1, R6, 22), "71611600 00000000"),
    (Assembler().load(2, R1, R6, 24), "69611800 00000000"),
    (Assembler().load(8, R1, R6, 0), "79610000 00000000"),
    (Assembler().store(4, R10, -4, R1), "631afcff 00000000"),
    (Assembler().store_value(4, R10, -4, 7), "620afcff 07000000"),
    (Assembler().atomic_add(R0, 0, R1), "db100000 00000000"),
    (Assembler().load_map(R1, 5), "18110000 05000000 00000000 00000000"),
    (Assembler().call(1), "85000000 01000000"),
    (Assembler().jump("x").label("x").exit(), "05000000 00000000 95000000 00000000"),
    (Assembler().jump_if(R1, "==", 8, "x").mov(R0, 1).label("x").exit(), "15010100 08000000 b7000000 01000000 95000000 00000000"),
    (Assembler().label("x").jump_if_register(R2, ">", R1, "x"), "2d12ffff 00000000"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "expected"), GOLDEN, ids=range(len(GOLDEN)))
def test_the_bytes_are_the_kernels(program, expected):
    assert program.code().hex() == expected.replace(" ", "")


def test_a_jump_to_nowhere_is_an_error():
    with pytest.raises(ValueError, match="no label 'x'"):
        Assembler().jump("x").code()


def test_a_label_stands_once():
    with pytest.raises(ValueError, match="twice"):
        Assembler().label("x").label("x")


def test_a_jump_too_far_is_an_error():
    program = Assembler().jump("end")
    for _ in range(0x8000):
        program.mov(R0, 0)
    with pytest.raises(ValueError, match="instructions away"):
        program.label("end").exit().code()
