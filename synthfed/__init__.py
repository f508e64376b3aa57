"""synthfed: share synthetic patients instead of patients."""
