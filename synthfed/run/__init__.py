"""One run: from cohort to dossier. `flow.run_pipeline` reads like the list of what happens."""
