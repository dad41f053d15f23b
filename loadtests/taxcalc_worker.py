"""Tax-Calculator's first Economic Impact Payment of its own 280,005 tax units, run by the Python that has Tax-Calculator: `taxcalc_worker.py OUT ROUNDS`.

Writes the units' facts and payments to OUT.csv and the seconds of each part to OUT.json. Imports nothing of this repository.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

YEAR = 2020
FIRST_ROUND = {
    "RRC_c_unit": {str(YEAR): [1200, 2400, 1200, 1200, 1200]},
    "RRC_c_kids": {str(YEAR): 500},
}
"""The first round alone; Tax-Calculator's law of 2020 adds the second to it. Limits and rate of the taper are as it has them."""


def main(out: str, rounds: int) -> None:
    taxcalc: Any = import_module("taxcalc")
    payment: Any = import_module("taxcalc.calcfunctions").PersonalTaxCredit
    seconds: dict[str, list[float]] = {}
    last = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds.setdefault(what, []).append(now - last)
        last = now

    policy = taxcalc.Policy()
    policy.implement_reform(FIRST_ROUND)
    calculator = taxcalc.Calculator(policy=policy, records=taxcalc.Records.cps_constructor(), verbose=False)
    calculator.advance_to_year(YEAR)
    lap("read and age the units")
    calculator.calc_all()
    lap("every tax and benefit, compiled first")
    for _ in range(rounds):
        calculator.calc_all()
        lap("every tax and benefit")
    inside = vars(calculator)
    for _ in range(rounds):
        payment(inside["_Calculator__policy"], inside["_Calculator__records"])
        lap("the payment alone")
    units = calculator.dataframe(["RECID", "MARS", "c00100", "nu18", "recovery_rebate_credit"])
    units.to_csv(f"{out}.csv", index=False, float_format="%.17g")
    Path(f"{out}.json").write_text(json.dumps({"version": taxcalc.__version__, "seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
