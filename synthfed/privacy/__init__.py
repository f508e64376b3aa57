"""What a patient's privacy costs: events, accounting, mechanisms, and the ledger that refuses."""
