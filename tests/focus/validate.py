"""Applies the rules of the FOCUS 1.0 validator to an export of ours, and to spoilt copies of it.

    validate.py EXPORT.csv

The validator's command always exits with 0, so its rules are applied from here. Four of its habits
are met on a copy; nothing else of the export is changed:

- It calls four columns other than FOCUS 1.0 does: InvoiceIssuer, Provider, Publisher and ResourceID.
- Its rule about SkuPriceId reads ChargeType, as ChargeCategory was called before FOCUS 1.0.
- It takes a column of whole numbers for integers and then misses its decimals.
- It reads the currency codes from a file that its package lacks; the working directory has one.
"""

import csv
import os
import sys
import tempfile

from focus_validator.config_objects.common import ChecklistObjectStatus
from focus_validator.validator import Validator

RENAMED = {
    "InvoiceIssuerName": "InvoiceIssuer",
    "ProviderName": "Provider",
    "PublisherName": "Publisher",
    "ResourceId": "ResourceID",
}
WHOLE = ("ConsumedQuantity", "PricingQuantity")
CURRENCY_CODES = "focus_validator/utils/currency_codes.csv"
# What version 1.0.0 of the package holds for version 1.0 of FOCUS.
RULES = 133


def adapted(row):
    row = {RENAMED.get(name, name): value for name, value in row.items()}
    row["ChargeType"] = row["ChargeCategory"]
    for name in WHOLE:
        if row.get(name, "").isdigit():
            row[name] += ".0"
    return row


def failures(rows, path):
    """The names of the rules that the rows break, and how many rules were applied."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    validator = Validator(
        data_filename=path, output_type="console", output_destination=None, rules_version="1.0"
    )
    validator.load()
    checklist = validator.spec_rules.validate(validator.focus_data).checklist
    passed = {ChecklistObjectStatus.PASSED}
    return {name for name, rule in checklist.items() if rule.status not in passed}, len(checklist)


def spoilt(rows, change):
    rows = [dict(row) for row in rows]
    change(rows)
    return rows


def without(name):
    def change(rows):
        for row in rows:
            del row[name]

    return change


def with_value(name, value):
    def change(rows):
        rows[0][name] = value

    return change


# The rules must be able to fail: each spoilt copy must break the rule that is named.
SPOILT = {
    "BilledCost_Required": without("BilledCost"),
    "BilledCost_IsDecimal": with_value("BilledCost", "many"),
    "BillingCurrency_IsCurrencyCode": with_value("BillingCurrency", "DOLLARS"),
    "ChargePeriodStart_IsDateTime": with_value("ChargePeriodStart", "2026-11-01 00:00"),
    "ChargeFrequency_Enum": with_value("ChargeFrequency", "Often"),
    "ServiceCategory_NotNull": with_value("ServiceCategory", ""),
    "SkuPriceId_Nullable": with_value("SkuPriceId", ""),
    "Tags_IsJSONObject": with_value("Tags", "team=search"),
}


def main(export):
    with open(export, newline="") as file:
        rows = [adapted(row) for row in csv.DictReader(file)]
    assert rows, "the export has no lines"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.makedirs(os.path.dirname(CURRENCY_CODES))
        with open(CURRENCY_CODES, "w") as file:
            file.write(",currency_codes\n0,USD\n1,EUR\n")
        path = os.path.join(folder, "export.csv")
        broken, applied = failures(rows, path)
        assert applied == RULES, f"{applied} rules were applied, not {RULES}"
        assert not broken, f"broken rules: {sorted(broken)}"
        for rule, change in SPOILT.items():
            found, _ = failures(spoilt(rows, change), path)
            assert rule in found, f"{rule} passes on a copy that breaks it; failed: {sorted(found)}"
    print(f"{len(rows)} lines pass all {applied} rules; {len(SPOILT)} spoilt copies do not")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
