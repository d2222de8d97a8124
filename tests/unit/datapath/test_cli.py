import pytest

from kubedyno.cli.main import main


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--datapath rout", "--datapath: unknown 'rout'; did you mean 'route'?"),
        ("--datapath ,", "--datapath: name at least one of host"),
        ("--tests tpc", "--tests: no test 'tpc'; did you mean 'tcp'?"),
        ("--ip 5", "--ip: unknown '5'; there are 4, 6"),
        ("--mtu 12", "--mtu: '12' is no size between 1400 and 65535"),
        ("--big-tcp 1m", "--big-tcp: unknown '1m'"),
        ("--seconds 0", "--seconds: 0 is not between 0.1 and 3600"),
        ("--rounds 0", "--rounds: 1 to 1000, not 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(words, expected, capsys):
    assert main(["net", "lab", *words.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"kubedyno: {expected}")
    assert error.count("\n") == 1
